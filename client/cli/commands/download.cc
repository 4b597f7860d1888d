// lathe download NAME -o PATH
#include <iostream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/cli/commands/commands.h"
#include "client/cli/output.h"
#include "client/cli/progress.h"

namespace lathe::cli {
namespace {

struct Flags {
  std::string name;
  std::string output;
  bool keep = false;
};

int Run(Context& context, const Flags& flags) {
  auto client = context.Connect();
  if (!client.ok()) return context.Fail(client.status());
  std::string model = flags.name;
  if (absl::StartsWith(flags.name, "jobs/")) {
    const auto job = (*client)->GetJob(flags.name);
    if (!job.ok()) return context.Fail(job.status());
    if (job->result().model().empty()) {
      return context.Fail(absl::FailedPreconditionError(
          absl::StrCat(flags.name, " has no result: it is ", client::StateName(job->state()))));
    }
    model = job->result().model();
  }
  ProgressBar bar("download", context.quiet || context.json);
  client::DownloadOptions options;
  options.overwrite = !flags.keep;
  options.progress = [&](int64_t done, int64_t total) {
    bar.Update(total == 0 ? 1 : static_cast<double>(done) / static_cast<double>(total),
               absl::StrCat(HumanBytes(done), " of ", HumanBytes(total)));
  };
  const auto paths = (*client)->DownloadModel(ResourceName("models", model), flags.output, options);
  if (!paths.ok()) return context.Fail(paths.status());
  bar.Finish(paths->front());
  if (context.json) {
    v1::Model files;
    for (const std::string& path : *paths) files.add_files()->set_path(path);
    std::cout << ToJson(files) << std::endl;
  } else {
    for (const std::string& path : *paths) std::cout << path << std::endl;
  }
  return kOk;
}

}  // namespace

void AddDownloadCommand(CLI::App& app, Context& context) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command =
      app.add_subcommand("download", "Save a model, or a job's result; prints the paths written");
  command->add_option("NAME", flags->name, "models/ID or jobs/ID")->required();
  command->add_option("-o,--output", flags->output, "File to write, or a folder to write into")
      ->required();
  command->add_flag("--no-overwrite", flags->keep, "Fail when the file is there already");
  command->callback([&context, flags] { Run(context, *flags); });
}

}  // namespace lathe::cli
