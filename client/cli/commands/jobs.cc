// lathe jobs
#include <iostream>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "client/cli/commands/commands.h"
#include "client/cli/output.h"

namespace lathe::cli {
namespace {

struct Flags {
  int limit = 50;
  std::string state;
  std::string model;
};

int Run(Context& context, const Flags& flags) {
  auto client = context.Connect();
  if (!client.ok()) return context.Fail(client.status());
  v1::ListJobsRequest request;
  if (!flags.state.empty()) {
    v1::JobState state;
    v1::JobState_Parse(absl::StrCat("JOB_STATE_", absl::AsciiStrToUpper(flags.state)), &state);
    request.set_state(state);
  }
  if (!flags.model.empty()) request.set_model(ResourceName("models", flags.model));
  v1::ListJobsResponse all;
  do {
    request.set_page_size(std::min(flags.limit - all.jobs_size(), 1000));
    auto page = (*client)->ListJobs(request);
    if (!page.ok()) return context.Fail(page.status());
    for (const v1::Job& job : page->jobs()) *all.add_jobs() = job;
    request.set_page_token(page->next_page_token());
  } while (!request.page_token().empty() && all.jobs_size() < flags.limit);
  if (context.json) {
    std::cout << ToJson(all) << std::endl;
    return kOk;
  }
  std::vector<std::vector<std::string>> rows = {
      {"NAME", "STATE", "PROGRESS", "MODEL", "CREATED", "RESULT"}};
  for (const v1::Job& job : all.jobs()) {
    const bool running = job.state() == v1::JOB_STATE_RUNNING;
    rows.push_back(
        {job.name(), client::StateName(job.state()),
         running ? absl::StrCat(static_cast<int>(job.progress().fraction() * 100), "%") : "",
         job.model(), HumanTime(job.create_time()),
         job.state() == v1::JOB_STATE_FAILED ? client::ReasonName(job.error().reason())
                                             : job.result().model()});
  }
  std::cout << Table(rows);
  if (!request.page_token().empty())
    std::cerr << "more than " << flags.limit << " jobs; see --limit" << std::endl;
  return kOk;
}

}  // namespace

void AddJobsCommand(CLI::App& app, Context& context) {
  auto flags = std::make_shared<Flags>();
  CLI::App* command = app.add_subcommand("jobs", "List jobs, newest first");
  command->add_option("-n,--limit", flags->limit, "Most to list")
      ->check(CLI::Range(1, 1000000))
      ->capture_default_str();
  command->add_option("--state", flags->state, "Only jobs in this state")
      ->check(
          CLI::IsMember({"pending", "running", "cancelling", "succeeded", "failed", "cancelled"},
                        CLI::ignore_case));
  command->add_option("--model", flags->model, "Only jobs on this model")->type_name("MODEL");
  command->callback([&context, flags] { Run(context, *flags); });
}

}  // namespace lathe::cli
