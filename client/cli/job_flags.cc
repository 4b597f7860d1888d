#include "client/cli/job_flags.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/cli/data_check.h"
#include "client/cli/interrupt.h"
#include "client/cli/output.h"
#include "common/limits.h"
#include "common/recipe/text.h"
#include "common/recipe/validate.h"
#include "common/status_macros.h"
#include "proto/recipe_codec.h"

namespace lathe::cli {
namespace {

struct DataFlag {
  std::string role;  // "": whatever the recipe needs
  std::string path;
};

// [ROLE=]FILE. A file whose own name holds "=" is taken as it is where it exists.
absl::StatusOr<DataFlag> ParseDataFlag(const std::string& item) {
  const std::vector<std::string> roles = {"calibration", "train", "test", "all"};
  const size_t equals = item.find('=');
  DataFlag flag{"", item};
  if (equals != std::string::npos) {
    const std::string role = item.substr(0, equals);
    std::error_code ignored;
    if (std::find(roles.begin(), roles.end(), role) != roles.end()) {
      flag = {role == "all" ? "" : role, item.substr(equals + 1)};
    } else if (!std::filesystem::exists(item, ignored)) {
      const std::string nearest = NearestName(role, roles);
      return absl::InvalidArgumentError(absl::StrCat(
          "--data ", item, ": no role \"", role, "\"; expected calibration, train, test or all",
          nearest.empty() ? "" : absl::StrCat("; did you mean \"", nearest, "\"?")));
    }
  }
  std::error_code error;
  if (!std::filesystem::is_regular_file(flag.path, error) || !std::ifstream(flag.path)) {
    return absl::InvalidArgumentError(
        absl::StrCat("--data ", item, ": cannot read ", flag.path, ": no such file"));
  }
  return flag;
}

absl::StatusOr<Recipe> ReadRecipe(const JobFlags& flags, RecipeUse use) {
  Recipe recipe;
  if (!flags.recipe_file.empty() && !flags.steps.empty()) {
    return absl::InvalidArgumentError("give --recipe or --step, not both");
  }
  if (!flags.recipe_file.empty()) {
    std::ostringstream text;
    if (flags.recipe_file == "-") {
      text << std::cin.rdbuf();
    } else {
      std::ifstream in(flags.recipe_file, std::ios::binary);
      if (!in)
        return absl::InvalidArgumentError(
            absl::StrCat("cannot read the recipe ", flags.recipe_file));
      text << in.rdbuf();
    }
    absl::StatusOr<Recipe> parsed = ParseRecipe(text.str());
    if (!parsed.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat(flags.recipe_file, ": ", parsed.status().message()));
    }
    recipe = *std::move(parsed);
  }
  for (const std::string& text : flags.steps) {
    ASSIGN_OR_RETURN(Step step, ParseStepFlag(text));
    recipe.steps.push_back(std::move(step));
  }
  if (use == RecipeUse::kCompress && recipe.steps.empty() && flags.recipe_file.empty()) {
    return absl::InvalidArgumentError(
        "no recipe: give --recipe FILE, or --step NAME:key=value,... (such as --step "
        "quantize_weights:bits=8); "
        "`lathe capabilities` lists the methods");
  }
  struct Section {
    const char* name;
    const char* flag;
    const std::vector<std::string>& texts;
  };
  for (const Section& section : {Section{"evaluate", "--evaluate", flags.evaluate},
                                 Section{"preprocess", "--preprocess", flags.preprocess},
                                 Section{"split", "--split", flags.split},
                                 Section{"constraints", "--constraint", flags.constraints}}) {
    for (const std::string& text : section.texts) {
      RETURN_IF_ERROR(AddSectionFlag(section.name, section.flag, text, &recipe));
    }
  }
  if (flags.seed) recipe.seed = *flags.seed;
  RETURN_IF_ERROR(ViolationsToStatus(ValidateRecipe(recipe, use)));
  return recipe;
}

}  // namespace

void JobFlags::Add(CLI::App& command) {
  command.add_option("-r,--recipe", recipe_file, "Recipe as YAML or JSON; - reads standard input")
      ->type_name("FILE");
  command
      .add_option("-s,--step", steps,
                  "One step, repeatable, instead of a recipe file:\n"
                  "quantize_weights:bits=4,granularity=group,group_size=32")
      ->type_name("NAME[:key=value,...]")
      ->allow_extra_args(false);
  command
      .add_option("--teacher", teacher,
                  "Model that distill steps learn from: an .onnx file, or one on the server; "
                  "default: the model as it was before the recipe")
      ->type_name("MODEL");
  AddForEvaluation(command);
}

void JobFlags::AddForEvaluation(CLI::App& command) {
  command.add_option("--seed", seed, "Seed of everything random; overrides the recipe's")
      ->type_name("N");
  command
      .add_option("-d,--data", data,
                  "Dataset (.npz or .safetensors) to upload and hand to the job, repeatable; ROLE "
                  "is calibration, train, test or all (what no other file is given for)")
      ->type_name("[ROLE=]F.npz")
      ->allow_extra_args(false);
  command
      .add_option("--evaluate", evaluate,
                  "How the model is measured, such as task=classification,top_k=3; repeatable")
      ->type_name("KEY=VALUE,...")
      ->allow_extra_args(false);
  command
      .add_option("--preprocess", preprocess,
                  "How data becomes inputs, such as scale=0.0039,layout=NHWC,resize=224|224")
      ->type_name("KEY=VALUE,...")
      ->allow_extra_args(false);
  command
      .add_option("--split", split,
                  "How a file serves several roles, such as test=0.3,calibration=256")
      ->type_name("KEY=VALUE,...")
      ->allow_extra_args(false);
  command
      .add_option("--constraint", constraints,
                  "What the result must keep, such as max_accuracy_drop=0.01; repeatable")
      ->type_name("NAME=VALUE")
      ->allow_extra_args(false);
  command
      .add_option("-b,--bind", bindings,
                  "Size of a symbolic dimension when MACs are counted, repeatable")
      ->type_name("NAME=SIZE")
      ->allow_extra_args(false);
  command.add_option("--label", labels, "Label to find the job by, repeatable")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false);
  command.add_option("--priority", priority, "Higher runs first, -100 to 100")
      ->check(CLI::Range(-100, 100));
  command
      .add_option("--max-run", max_run,
                  "Longest run of one attempt, such as 30m (server's default: 24h)")
      ->type_name("DURATION");
  command
      .add_option("--max-pending", max_pending,
                  "Longest wait in the queue, such as 10m (default: no bound)")
      ->type_name("DURATION");
}

absl::StatusOr<v1::Job> JobFlags::ToJob(RecipeUse use) const {
  v1::Job job;
  ASSIGN_OR_RETURN(const Recipe recipe, ReadRecipe(*this, use));
  ASSIGN_OR_RETURN(*job.mutable_recipe(), RecipeToProto(recipe));
  ASSIGN_OR_RETURN(const auto bound, ParseBindings(bindings));
  for (const auto& [name, size] : bound) (*job.mutable_bindings())[name] = size;
  for (const std::string& label : labels) {
    const size_t equals = label.find('=');
    if (equals == std::string::npos || equals == 0) {
      return absl::InvalidArgumentError(absl::StrCat("--label ", label, ": expected KEY=VALUE"));
    }
    (*job.mutable_labels())[label.substr(0, equals)] = label.substr(equals + 1);
  }
  job.set_priority(priority);
  if (!max_run.empty()) {
    ASSIGN_OR_RETURN(const absl::Duration d, ParseDurationFlag("--max-run", max_run));
    job.mutable_max_run_duration()->set_seconds(
        absl::ToInt64Seconds(absl::Ceil(d, absl::Seconds(1))));
  }
  if (!max_pending.empty()) {
    ASSIGN_OR_RETURN(const absl::Duration d, ParseDurationFlag("--max-pending", max_pending));
    job.mutable_max_pending_duration()->set_seconds(
        absl::ToInt64Seconds(absl::Ceil(d, absl::Seconds(1))));
  }
  for (const std::string& item : data) RETURN_IF_ERROR(ParseDataFlag(item).status());
  const bool learns = std::any_of(recipe.steps.begin(), recipe.steps.end(),
                                  [](const Step& step) { return step.method == "distill"; });
  if (!teacher.empty() && !learns) {
    return absl::InvalidArgumentError(
        absl::StrCat("--teacher ", teacher,
                     ": only distill steps learn from a teacher, and the recipe has none"));
  }
  return job;
}

absl::Status JobFlags::CheckData(const std::string& model, const v1::Job& job) const {
  std::vector<std::string> paths;
  for (const std::string& item : data) {
    ASSIGN_OR_RETURN(const DataFlag flag, ParseDataFlag(item));
    paths.push_back(flag.path);
  }
  return cli::CheckData(model, RecipeFromProto(job.recipe()), paths);
}

absl::Status JobFlags::UploadTeacher(client::Client& client, const Context& context,
                                     v1::Job* job) const {
  if (teacher.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(*job->mutable_teacher_model(), ModelArgument(client, context, teacher));
  return absl::OkStatus();
}

absl::Status JobFlags::UploadData(client::Client& client, const Context& context,
                                  v1::Job* job) const {
  for (const std::string& item : data) {
    ASSIGN_OR_RETURN(const DataFlag flag, ParseDataFlag(item));
    ProgressBar bar("data", context.quiet || context.json);
    ASSIGN_OR_RETURN(const v1::Dataset dataset, client.UploadDataset(flag.path, [&](int64_t done,
                                                                                    int64_t total) {
      bar.Update(total == 0 ? 1 : static_cast<double>(done) / static_cast<double>(total),
                 HumanBytes(done));
    }));
    bar.Finish(absl::StrCat(flag.path, " as ", dataset.name()));
    v1::JobDataset* entry = job->add_datasets();
    entry->set_dataset(dataset.name());
    entry->set_role(flag.role);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ModelArgument(client::Client& client, const Context& context,
                                          const std::string& given) {
  std::error_code error;
  if (absl::StartsWith(given, "models/") || !std::filesystem::is_regular_file(given, error)) {
    return ResourceName("models", given);
  }
  ASSIGN_OR_RETURN(const v1::Model model, UploadWithProgress(client, context, given, ""));
  return model.name();
}

absl::StatusOr<v1::Model> UploadWithProgress(client::Client& client, const Context& context,
                                             const std::string& path,
                                             const std::string& display_name) {
  ProgressBar bar("upload", context.quiet || context.json);
  client::UploadModelOptions options;
  options.display_name = display_name;
  options.progress = [&](int64_t done, int64_t total) {
    bar.Update(total == 0 ? 1 : static_cast<double>(done) / static_cast<double>(total),
               absl::StrCat(HumanBytes(done), " of ", HumanBytes(total)));
  };
  ASSIGN_OR_RETURN(v1::Model model, client.UploadModel(path, options));
  bar.Finish(absl::StrCat(path, " (", HumanBytes(model.total_bytes()), ") as ", model.name()));
  return model;
}

absl::StatusOr<v1::Job> FollowJob(client::Client& client, const Context& context,
                                  const v1::Job& job, const FollowOptions& options) {
  ProgressBar bar("job", context.quiet || context.json);
  const auto on_event = [&](const v1::JobEvent& event) {
    if (context.json && options.print_events)
      std::cout << ToJson(event, /*compact=*/true) << std::endl;
    if (event.has_progress()) {
      const v1::JobProgress& p = event.progress();
      std::string text = p.stage();
      if (p.step_index() < p.step_count()) {
        text = absl::StrCat("step ", p.step_index() + 1, "/", p.step_count(), " ", text);
      }
      if (!p.message().empty()) absl::StrAppend(&text, ": ", p.message());
      if (p.has_time_left()) absl::StrAppend(&text, ", ", p.time_left().seconds(), " s left");
      bar.Update(p.fraction(), text);
    } else if (event.has_log()) {
      if (options.on_log) options.on_log(event.log().line());
      if (context.verbose) bar.Line(absl::StrCat("log: ", event.log().line()));
    } else if (event.has_state_change()) {
      const v1::Job& now = event.state_change();
      if (now.state() == v1::JOB_STATE_PENDING && now.has_error()) {
        bar.Line(absl::StrCat("attempt ", now.attempt_count(), " of ", now.max_attempts(),
                              " failed (", client::ReasonName(now.error().reason()),
                              "): ", now.error().message()));
      }
    }
    return true;
  };
  absl::StatusOr<v1::Job> done = client.WatchJob(job.name(), 0, on_event);
  if (InterruptCount() > 0) {
    ForgetInterrupts();  // the calls below must work
    if (!options.cancel_on_interrupt) {
      bar.Finish(absl::StrCat("stopped following; ", job.name(), " goes on. `lathe cancel ",
                              job.name(), "` stops it"));
      return absl::CancelledError("interrupted");
    }
    bar.Line(absl::StrCat("interrupted: cancelling ", job.name()));
    RETURN_IF_ERROR(client.CancelJob(job.name()).status());
    done = client.WaitJob(job.name(), absl::Seconds(30));
    if (done.ok())
      return absl::CancelledError(
          absl::StrCat("interrupted; ", job.name(), " is ", client::StateName(done->state())));
  }
  if (done.ok()) bar.Finish(absl::StrCat(done->name(), " ", client::StateName(done->state())));
  return done;
}

int FinishedJobExitCode(Context& context, const v1::Job& job) {
  if (job.state() == v1::JOB_STATE_FAILED) {
    std::cerr << "lathe: " << job.name() << " failed (" << client::ReasonName(job.error().reason())
              << "): " << job.error().message() << std::endl;
    context.exit_code = kJobFailed;
  } else if (job.state() == v1::JOB_STATE_CANCELLED) {
    std::cerr << "lathe: " << job.name() << " was cancelled" << std::endl;
    context.exit_code = kJobCancelled;
  }
  return context.exit_code;
}

}  // namespace lathe::cli
