// lathe job JOB, cancel JOB, retry JOB, delete NAME: commands that take one name and print what
// became of it.
#include <iostream>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/cli/commands/commands.h"
#include "client/cli/output.h"
#include "common/recipe/text.h"
#include "proto/recipe_codec.h"

namespace lathe::cli {
namespace {

void PrintJob(const Context& context, const v1::Job& job) {
  if (context.json) {
    std::cout << ToJson(job) << std::endl;
    return;
  }
  std::vector<std::vector<std::string>> rows = {
      {"name", job.name()}, {"state", client::StateName(job.state())}, {"model", job.model()}};
  if (job.state() == v1::JOB_STATE_RUNNING) {
    rows.push_back(
        {"progress", absl::StrCat(static_cast<int>(job.progress().fraction() * 100), "% ",
                                  job.progress().stage(), " ", job.progress().message())});
  }
  if (job.has_error()) {
    rows.push_back({"error", absl::StrCat(client::ReasonName(job.error().reason()), ": ",
                                          job.error().message())});
  }
  if (!job.result().model().empty()) {
    rows.push_back({"result", job.result().model()});
    rows.push_back({"from cache", job.result().from_cache() ? "yes" : "no"});
  }
  rows.push_back({"attempts", absl::StrCat(job.attempt_count(), " of ", job.max_attempts())});
  rows.push_back({"created", HumanTime(job.create_time())});
  if (job.has_start_time()) rows.push_back({"started", HumanTime(job.start_time())});
  if (job.has_end_time()) rows.push_back({"ended", HumanTime(job.end_time())});
  if (!job.worker().empty()) rows.push_back({"worker", job.worker()});
  if (!job.retry_of().empty()) rows.push_back({"retry of", job.retry_of()});
  for (const auto& [key, value] : job.labels())
    rows.push_back({"label", absl::StrCat(key, "=", value)});
  std::cout << Table(rows) << "recipe\n" << ToYaml(RecipeFromProto(job.recipe()));
}

using Call = absl::StatusOr<v1::Job> (*)(client::Client&, const std::string&);

void AddJobCall(CLI::App& app, Context& context, const char* name, const char* help, Call call) {
  auto job_name = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand(name, help);
  command->add_option("JOB", *job_name, "jobs/ID, or just ID")->required();
  command->callback([&context, job_name, call] {
    auto client = context.Connect();
    if (!client.ok()) return static_cast<void>(context.Fail(client.status()));
    const auto job = call(**client, ResourceName("jobs", *job_name));
    if (!job.ok()) return static_cast<void>(context.Fail(job.status()));
    PrintJob(context, *job);
  });
}

int Delete(Context& context, const std::string& name) {
  auto client = context.Connect();
  if (!client.ok()) return context.Fail(client.status());
  absl::Status status;
  if (absl::StartsWith(name, "models/")) {
    status = (*client)->DeleteModel(name);
  } else if (absl::StartsWith(name, "jobs/")) {
    status = (*client)->DeleteJob(name);
  } else {
    return context.FailUsage(absl::StrCat("\"", name, "\" must be models/ID or jobs/ID"));
  }
  if (!status.ok()) return context.Fail(status);
  std::cout << (context.json ? absl::StrCat("{\"deleted\": \"", name, "\"}")
                             : absl::StrCat("deleted ", name))
            << std::endl;
  return kOk;
}

}  // namespace

void AddJobCommand(CLI::App& app, Context& context) {
  AddJobCall(app, context, "job", "Show one job",
             [](client::Client& client, const std::string& name) { return client.GetJob(name); });
}

void AddCancelCommand(CLI::App& app, Context& context) {
  AddJobCall(
      app, context, "cancel", "Cancel a job",
      [](client::Client& client, const std::string& name) { return client.CancelJob(name); });
}

void AddRetryCommand(CLI::App& app, Context& context) {
  AddJobCall(app, context, "retry", "Run a finished job again, as a new job",
             [](client::Client& client, const std::string& name) { return client.RetryJob(name); });
}

void AddDeleteCommand(CLI::App& app, Context& context) {
  auto name = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand("delete", "Delete a model or a finished job");
  command->add_option("NAME", *name, "models/ID or jobs/ID")->required();
  command->callback([&context, name] { Delete(context, *name); });
}

}  // namespace lathe::cli
