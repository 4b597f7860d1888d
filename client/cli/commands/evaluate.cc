// lathe evaluate MODEL [--against MODEL] --data FILE: how good a model is, or how far two are
// apart.
#include <iostream>

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
  std::string against;
  std::string report;
  PageFlags page;
  std::string ort_library;  // of a private server; "": none
  JobFlags job;
};

struct Outcome {
  v1::Job job;
  client::Report report;  // empty: the job failed or was cancelled before there was one
};

absl::StatusOr<Outcome> Evaluate(Context& context, const Flags& flags, v1::Job job,
                                 Session& session) {
  client::Client& client = session.client();
  job.set_kind(v1::JOB_KIND_EVALUATE);
  ASSIGN_OR_RETURN(*job.mutable_model(), ModelArgument(client, context, flags.model));
  if (!flags.against.empty()) {
    ASSIGN_OR_RETURN(*job.mutable_compared_model(), ModelArgument(client, context, flags.against));
  }
  RETURN_IF_ERROR(flags.job.UploadData(client, context, &job));
  ASSIGN_OR_RETURN(const v1::Job created, client.CreateJob(job));
  Outcome outcome;
  ASSIGN_OR_RETURN(outcome.job, FollowJob(client, context, created, session.Following()));
  if (outcome.job.result().report_digest().empty()) return outcome;
  ASSIGN_OR_RETURN(outcome.report, client.GetReport(outcome.job.name()));
  if (!flags.report.empty()) RETURN_IF_ERROR(WriteTextFile(flags.report, outcome.report.json));
  RETURN_IF_ERROR(flags.page.Write(outcome.report.json, ReportPage));
  return outcome;
}

int Print(Context& context, const Flags& flags, const Outcome& outcome) {
  if (context.json) {
    std::cout << (outcome.report.json.empty() ? ToJson(outcome.job) : outcome.report.json)
              << std::endl;
  } else {
    std::cout << outcome.report.text;
    if (!outcome.report.text.empty()) {
      if (!flags.report.empty()) std::cout << "wrote " << flags.report << "\n";
      if (!flags.page.html.empty()) std::cout << "wrote " << flags.page.html << "\n";
    }
    std::cout << std::flush;
  }
  if (outcome.job.state() != v1::JOB_STATE_SUCCEEDED) {
    return FinishedJobExitCode(context, outcome.job);
  }
  const absl::Status opened = flags.page.Open();
  return opened.ok() ? kOk : context.Fail(opened);
}

int Run(Context& context, const Flags& flags) {
  if (flags.job.data.empty()) {
    return context.Fail(absl::InvalidArgumentError(
        "an evaluation needs data: --data FILE.npz, with the model's inputs by name and `labels` "
        "where there are some"));
  }
  absl::StatusOr<v1::Job> job = flags.job.ToJob(RecipeUse::kEvaluate);
  if (!job.ok()) return context.Fail(job.status());
  if (const absl::Status fits = flags.job.CheckData(flags.model, *job); !fits.ok()) {
    return context.Fail(fits);
  }
  absl::StatusOr<Session> session = Session::Open(context, flags.ort_library);
  if (!session.ok()) return context.Fail(session.status());
  const absl::StatusOr<Outcome> outcome = Evaluate(context, flags, *std::move(job), *session);
  const int code = outcome.ok() ? Print(context, flags, *outcome) : context.Fail(outcome.status());
  session->MayKeepLog(context);
  return code;
}

}  // namespace

void AddEvaluateCommand(CLI::App& app, Context& context) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = app.add_subcommand(
      "evaluate",
      "Measure a model on data, or compare two, on a private server unless one is "
      "named");
  command->add_option("MODEL", flags->model, "models/ID, or an .onnx file to upload first")
      ->required();
  command
      ->add_option("-a,--against", flags->against,
                   "The model to compare it with: its figures stand under `after`")
      ->type_name("MODEL");
  command->add_option("--report", flags->report, "Also write the report as JSON")
      ->type_name("R.json");
  flags->page.Add(*command, "the report");
  AddOrtLibraryFlag(*command, "to measure latency in too", &flags->ort_library);
  flags->job.AddForEvaluation(*command);
  command->footer(
      "Examples:\n"
      "  lathe evaluate model.onnx --data test.npz\n"
      "  lathe evaluate model.onnx --against small.onnx --data test.npz --html report.html");
  command->callback([&context, flags] { Run(context, *flags); });
}

}  // namespace lathe::cli
