// lathe compress MODEL.onnx -o OUT.onnx: upload, job, report, download, in one go.
#include <iostream>
#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/cli/commands/commands.h"
#include "client/cli/job_flags.h"
#include "client/cli/output.h"
#include "client/cli/page_flags.h"
#include "client/cli/private_server.h"
#include "common/report/page.h"
#include "common/status_macros.h"

namespace lathe::cli {
namespace {

struct Flags {
  std::string model;
  std::string output;
  std::string report;
  PageFlags page;
  JobFlags job;
};

struct Outcome {
  v1::Job job;
  client::Report report;
  std::vector<std::string> paths;
};

// Everything up to the files on disk. A job that failed or was cancelled is a value without paths.
// `own` is the private server, nullptr when another is used.
absl::StatusOr<Outcome> Compress(Context& context, const Flags& flags, v1::Job job,
                                 client::Client& client, PrivateServer* own) {
  ASSIGN_OR_RETURN(const v1::Model model, UploadWithProgress(client, context, flags.model, ""));
  job.set_model(model.name());
  RETURN_IF_ERROR(flags.job.UploadData(client, context, &job));
  ASSIGN_OR_RETURN(const v1::Job created, client.CreateJob(job));
  Outcome outcome;
  FollowOptions follow;
  follow.cancel_on_interrupt = true;
  if (own != nullptr) follow.on_log = [own](const std::string& line) { own->AppendLog(line); };
  ASSIGN_OR_RETURN(outcome.job, FollowJob(client, context, created, follow));
  if (outcome.job.state() != v1::JOB_STATE_SUCCEEDED) return outcome;
  ASSIGN_OR_RETURN(outcome.report, client.GetReport(outcome.job.name()));
  ASSIGN_OR_RETURN(outcome.paths, client.DownloadModel(outcome.job.result().model(), flags.output));
  if (!flags.report.empty()) RETURN_IF_ERROR(WriteTextFile(flags.report, outcome.report.json));
  RETURN_IF_ERROR(flags.page.Write(outcome.report.json, ReportPage));
  return outcome;
}

// A private server's log is worth keeping when it may tell what went wrong, or when asked for.
void MayKeepLog(const Context& context, PrivateServer* own) {
  const bool broke = context.exit_code == kFailed || context.exit_code == kJobFailed ||
                     context.exit_code == kUnreachable;
  if (own == nullptr || (!broke && !context.verbose)) return;
  own->KeepLog();
  std::cerr << "lathe: the private server's log is in " << own->log_path() << std::endl;
}

int Print(Context& context, const Flags& flags, const Outcome& outcome) {
  const bool succeeded = !outcome.paths.empty();
  if (context.json) {
    const nlohmann::json out = {
        {"job", nlohmann::json::parse(ToJson(outcome.job))},
        {"files", outcome.paths},
        {"report", succeeded ? nlohmann::json::parse(outcome.report.json, nullptr,
                                                     /*allow_exceptions=*/false)
                             : nlohmann::json()}};
    std::cout << out.dump(2) << std::endl;
  }
  if (!succeeded) return FinishedJobExitCode(context, outcome.job);
  const absl::Status opened = flags.page.Open();
  if (context.json) return opened.ok() ? kOk : context.Fail(opened);
  std::cout << outcome.report.text;
  if (!absl::EndsWith(outcome.report.text, "\n")) std::cout << "\n";
  for (const std::string& path : outcome.paths) std::cout << "wrote " << path << "\n";
  if (!flags.report.empty()) std::cout << "wrote " << flags.report << "\n";
  if (!flags.page.html.empty()) std::cout << "wrote " << flags.page.html << "\n";
  std::cout << std::flush;
  return opened.ok() ? kOk : context.Fail(opened);
}

int Run(Context& context, const Flags& flags) {
  absl::StatusOr<v1::Job> job = flags.job.ToJob();
  if (!job.ok()) return context.Fail(job.status());
  std::unique_ptr<PrivateServer> own;
  absl::StatusOr<std::unique_ptr<client::Client>> client;
  if (context.server.empty()) {
    absl::StatusOr<std::unique_ptr<PrivateServer>> started = PrivateServer::Start();
    if (!started.ok()) return context.Fail(started.status());
    own = *std::move(started);
    client = context.ConnectTo(own->address());
  } else {
    client = context.Connect();
  }
  if (!client.ok()) return context.Fail(client.status());
  const absl::StatusOr<Outcome> outcome =
      Compress(context, flags, *std::move(job), **client, own.get());
  const int code = outcome.ok() ? Print(context, flags, *outcome) : context.Fail(outcome.status());
  MayKeepLog(context, own.get());
  return code;
}

}  // namespace

void AddCompressCommand(CLI::App& app, Context& context) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = app.add_subcommand("compress",
                                         "Upload a model, run a recipe, save the result: all in "
                                         "one go, on a private server unless one is named");
  command->add_option("MODEL", flags->model, "The .onnx file")
      ->required()
      ->check(CLI::ExistingFile);
  command->add_option("-o,--output", flags->output, "File to write")
      ->required()
      ->type_name("OUT.onnx");
  command->add_option("--report", flags->report, "Also write the report as JSON")
      ->type_name("R.json");
  flags->page.Add(*command, "the report");
  flags->job.Add(*command);
  command->footer(
      "Examples:\n"
      "  lathe compress model.onnx -o small.onnx --step quantize_weights:bits=8\n"
      "  lathe compress model.onnx -o small.onnx --recipe recipe.yaml --report report.json\n"
      "  lathe compress model.onnx -o small.onnx --step prune_weights:sparsity=0.5 --step fp16");
  command->callback([&context, flags] { Run(context, *flags); });
}

}  // namespace lathe::cli
