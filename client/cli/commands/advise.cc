// lathe advise MODEL: the recipe to try first.
#include <iostream>
#include <nlohmann/json.hpp>

#include "client/cli/commands/commands.h"
#include "client/cli/job_flags.h"
#include "client/cli/output.h"
#include "client/cli/page_flags.h"
#include "client/cli/session.h"
#include "common/report/recipe_advice.h"
#include "common/status_macros.h"

namespace lathe::cli {
namespace {

struct Flags {
  std::string model;
  std::string target;
  std::string limit;
  std::string output;
  std::vector<std::string> bindings;
};

absl::StatusOr<RecipeAdvice> Advise(Context& context, const Flags& flags, Session& session) {
  ASSIGN_OR_RETURN(const auto bound, ParseBindings(flags.bindings));
  ASSIGN_OR_RETURN(const std::string name, ModelArgument(session.client(), context, flags.model));
  ASSIGN_OR_RETURN(const client::Report summary, session.client().InspectModel(name, bound));
  return AdviseRecipe(nlohmann::json::parse(summary.json, nullptr, /*allow_exceptions=*/false),
                      flags.target, flags.limit);
}

int Run(Context& context, const Flags& flags) {
  absl::StatusOr<Session> session = Session::Open(context);
  if (!session.ok()) return context.Fail(session.status());
  const absl::StatusOr<RecipeAdvice> advice = Advise(context, flags, *session);
  session->MayKeepLog(context);
  if (!advice.ok()) return context.Fail(advice.status());
  if (!flags.output.empty()) {
    if (const absl::Status written = WriteTextFile(flags.output, advice->yaml); !written.ok()) {
      return context.Fail(written);
    }
  }
  if (context.json) {
    const nlohmann::json out = {
        {"limit", advice->limit}, {"reasons", advice->reasons}, {"recipe_yaml", advice->yaml}};
    std::cout << out.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) << std::endl;
  } else if (flags.output.empty()) {
    std::cout << advice->yaml << std::flush;
  } else {
    for (const std::string& reason : advice->reasons) std::cout << reason << "\n";
    std::cout << "wrote " << flags.output << std::endl;
  }
  return kOk;
}

}  // namespace

void AddAdviseCommand(CLI::App& app, Context& context) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = app.add_subcommand(
      "advise", "The recipe to try first, with reasons, from the model's structure and weights");
  command->add_option("MODEL", flags->model, "models/ID, or an .onnx file to upload first")
      ->required();
  command
      ->add_option("--target", flags->target, "Where it will run: mobile, embedded, edge or cloud")
      ->type_name("TARGET")
      ->check(CLI::IsMember(AdviceTargets()));
  command
      ->add_option("--limit", flags->limit,
                   "What is scarce there: storage, memory, compute or energy (default: the "
                   "target's usual one, or storage)")
      ->type_name("LIMIT")
      ->check(CLI::IsMember(AdviceLimits()));
  command->add_option("-o,--output", flags->output, "Write the recipe there")
      ->type_name("RECIPE.yaml");
  command->add_option("-b,--bind", flags->bindings, "Size of a symbolic dimension, repeatable")
      ->type_name("NAME=SIZE")
      ->allow_extra_args(false);
  command->footer(
      "Example:\n"
      "  lathe advise model.onnx --limit compute -o recipe.yaml\n"
      "  lathe compress model.onnx -o small.onnx --recipe recipe.yaml");
  command->callback([&context, flags] { Run(context, *flags); });
}

}  // namespace lathe::cli
