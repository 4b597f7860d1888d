// lathe submit MODEL --recipe FILE
#include <iostream>

#include "client/cli/commands/commands.h"
#include "client/cli/job_flags.h"
#include "client/cli/output.h"

namespace lathe::cli {
namespace {

struct Flags {
  std::string model;
  JobFlags job;
  std::string request_id;
  bool validate_only = false;
  bool watch = false;
};

int Run(Context& context, const Flags& flags) {
  absl::StatusOr<v1::Job> job = flags.job.ToJob();
  if (!job.ok()) return context.Fail(job.status());
  if (const absl::Status fits = flags.job.CheckData(flags.model, *job); !fits.ok()) {
    return context.Fail(fits);
  }
  auto client = context.Connect();
  if (!client.ok()) return context.Fail(client.status());
  const absl::StatusOr<std::string> model = ModelArgument(**client, context, flags.model);
  if (!model.ok()) return context.Fail(model.status());
  job->set_model(*model);
  if (const absl::Status status = flags.job.UploadTeacher(**client, context, &*job); !status.ok()) {
    return context.Fail(status);
  }
  if (const absl::Status status = flags.job.UploadData(**client, context, &*job); !status.ok()) {
    return context.Fail(status);
  }
  if (flags.validate_only) {
    if (const absl::Status status = (*client)->ValidateJob(*job); !status.ok())
      return context.Fail(status);
    std::cout << (context.json ? "{\"valid\": true}" : "valid; nothing was queued") << std::endl;
    return kOk;
  }
  absl::StatusOr<v1::Job> created = (*client)->CreateJob(*job, flags.request_id);
  if (!created.ok()) return context.Fail(created.status());
  if (!flags.watch) {
    std::cout << (context.json ? ToJson(*created) : created->name()) << std::endl;
    return kOk;
  }
  const auto done = FollowJob(**client, context, *created,
                              {.cancel_on_interrupt = true, .print_events = true, .on_log = {}});
  if (!done.ok()) return context.Fail(done.status());
  if (!context.json) std::cout << done->name() << std::endl;
  return FinishedJobExitCode(context, *done);
}

}  // namespace

void AddSubmitCommand(CLI::App& app, Context& context) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = app.add_subcommand("submit", "Queue a job; prints its name");
  command->add_option("MODEL", flags->model, "models/ID, or an .onnx file to upload first")
      ->required();
  flags->job.Add(*command);
  command->add_option("--request-id", flags->request_id,
                      "Repeating a submit with the same id gives the same job");
  command->add_flag("--validate-only", flags->validate_only, "Check everything, queue nothing");
  command->add_flag("-w,--watch", flags->watch, "Follow the job to its end; Ctrl-C cancels it");
  command->footer(
      "Examples:\n"
      "  lathe submit models/ID --recipe recipe.yaml --watch\n"
      "  lathe submit model.onnx --step quantize_weights:bits=4,granularity=group --label "
      "team=vision");
  command->callback([&context, flags] { Run(context, *flags); });
}

}  // namespace lathe::cli
