// lathe lint MODEL: what a stock ONNX Runtime computes wrongly or runs slowly.
#include <iostream>
#include <nlohmann/json.hpp>

#include "client/cli/commands/commands.h"
#include "client/cli/job_flags.h"
#include "client/cli/session.h"
#include "common/report/lint_answer.h"
#include "common/status_macros.h"

namespace lathe::cli {
namespace {

struct Flags {
  std::string model;
  std::string target = "portable";
  std::vector<std::string> bindings;
  std::string ort_library;  // of a private server; "": none
};

absl::StatusOr<LintAnswer> Lint(Context& context, const Flags& flags, Session& session) {
  ASSIGN_OR_RETURN(const auto bound, ParseBindings(flags.bindings));
  ASSIGN_OR_RETURN(const std::string name, ModelArgument(session.client(), context, flags.model));
  ASSIGN_OR_RETURN(const client::Report summary, session.client().InspectModel(name, bound));
  return AnswerLint(nlohmann::json::parse(summary.json, nullptr, /*allow_exceptions=*/false),
                    flags.target);
}

int Run(Context& context, const Flags& flags) {
  absl::StatusOr<Session> session = Session::Open(context, flags.ort_library);
  if (!session.ok()) return context.Fail(session.status());
  const absl::StatusOr<LintAnswer> answer = Lint(context, flags, *session);
  session->MayKeepLog(context);
  if (!answer.ok()) return context.Fail(answer.status());
  if (context.json) {
    std::cout << answer->json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace)
              << std::endl;
  } else {
    std::cout << answer->text << std::flush;
  }
  context.exit_code = answer->clean ? kOk : kFindings;
  return context.exit_code;
}

}  // namespace

void AddLintCommand(CLI::App& app, Context& context) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = app.add_subcommand(
      "lint", "Find what a stock ONNX Runtime computes wrongly or runs slowly, and how to fix it");
  command->add_option("MODEL", flags->model, "models/ID, or an .onnx file to upload first")
      ->required();
  command
      ->add_option("--target", flags->target,
                   "Processor it will run on: vnni, avx2, arm, npu or microcontroller; portable: "
                   "any of the first three")
      ->type_name("TARGET")
      ->check(CLI::IsMember(LintTargets()))
      ->capture_default_str();
  command->add_option("-b,--bind", flags->bindings, "Size of a symbolic dimension, repeatable")
      ->type_name("NAME=SIZE")
      ->allow_extra_args(false);
  AddOrtLibraryFlag(*command, "to compare what it fuses with what was meant", &flags->ort_library);
  command->footer(
      "The exit code is 6 when there are errors or slow places.\n"
      "Example:\n"
      "  lathe lint int8.onnx --target avx2");
  command->callback([&context, flags] { Run(context, *flags); });
}

}  // namespace lathe::cli
