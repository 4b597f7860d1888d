// lathe compress MODEL.onnx -o OUT.onnx: upload, job, report, download, in one go.
#include <iostream>
#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/cli/commands/commands.h"
#include "client/cli/job_flags.h"
#include "client/cli/output.h"
#include "client/cli/page_flags.h"
#include "client/cli/session.h"
#include "common/report/page.h"
#include "common/status_macros.h"

namespace lathe::cli {
namespace {

struct Flags {
  std::string model;
  std::string output;
  std::string report;
  PageFlags page;
  std::string ort_library;  // of a private server; "": none
  JobFlags job;
};

struct Outcome {
  v1::Job job;
  client::Report report;
  std::vector<std::string> paths;
};

// Everything up to the files on disk. A job that failed or was cancelled is a value without paths;
// one whose result was rejected has its report all the same.
absl::StatusOr<Outcome> Compress(Context& context, const Flags& flags, v1::Job job,
                                 Session& session) {
  client::Client& client = session.client();
  ASSIGN_OR_RETURN(const v1::Model model, UploadWithProgress(client, context, flags.model, ""));
  job.set_model(model.name());
  RETURN_IF_ERROR(flags.job.UploadTeacher(client, context, &job));
  RETURN_IF_ERROR(flags.job.UploadData(client, context, &job));
  ASSIGN_OR_RETURN(const v1::Job created, client.CreateJob(job));
  Outcome outcome;
  ASSIGN_OR_RETURN(outcome.job, FollowJob(client, context, created, session.Following()));
  const bool succeeded = outcome.job.state() == v1::JOB_STATE_SUCCEEDED;
  if (!succeeded && !outcome.job.result().rejected()) return outcome;
  ASSIGN_OR_RETURN(outcome.report, client.GetReport(outcome.job.name()));
  if (succeeded) {
    ASSIGN_OR_RETURN(outcome.paths,
                     client.DownloadModel(outcome.job.result().model(), flags.output));
  }
  if (!flags.report.empty()) RETURN_IF_ERROR(WriteTextFile(flags.report, outcome.report.json));
  RETURN_IF_ERROR(flags.page.Write(outcome.report.json, ReportPage));
  return outcome;
}

int Print(Context& context, const Flags& flags, const Outcome& outcome) {
  const bool succeeded = !outcome.paths.empty();
  if (context.json) {
    const nlohmann::json out = {
        {"job", nlohmann::json::parse(ToJson(outcome.job))},
        {"files", outcome.paths},
        {"report", outcome.report.json.empty()
                       ? nlohmann::json()
                       : nlohmann::json::parse(outcome.report.json, nullptr,
                                               /*allow_exceptions=*/false)}};
    std::cout << out.dump(2) << std::endl;
  }
  if (!succeeded) {
    if (!context.json) std::cout << outcome.report.text << std::flush;
    return FinishedJobExitCode(context, outcome.job);
  }
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
  if (const absl::Status fits = flags.job.CheckData(flags.model, *job); !fits.ok()) {
    return context.Fail(fits);
  }
  absl::StatusOr<Session> session = Session::Open(context, flags.ort_library);
  if (!session.ok()) return context.Fail(session.status());
  const absl::StatusOr<Outcome> outcome = Compress(context, flags, *std::move(job), *session);
  const int code = outcome.ok() ? Print(context, flags, *outcome) : context.Fail(outcome.status());
  session->MayKeepLog(context);
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
  AddOrtLibraryFlag(*command, "to measure latency in too", &flags->ort_library);
  flags->job.Add(*command);
  command->footer(
      "Examples:\n"
      "  lathe compress model.onnx -o small.onnx --step quantize_weights:bits=8\n"
      "  lathe compress model.onnx -o small.onnx --recipe recipe.yaml --report report.json\n"
      "  lathe compress model.onnx -o small.onnx --step prune_weights:sparsity=0.5 --step fp16");
  command->callback([&context, flags] { Run(context, *flags); });
}

}  // namespace lathe::cli
