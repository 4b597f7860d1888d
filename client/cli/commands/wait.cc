// lathe wait JOB, watch JOB, logs JOB
#include <iostream>

#include "client/cli/commands/commands.h"
#include "client/cli/job_flags.h"
#include "client/cli/output.h"

namespace lathe::cli {
namespace {

int Wait(Context& context, const std::string& name, const std::string& timeout_text) {
  absl::Duration timeout = absl::InfiniteDuration();
  if (!timeout_text.empty()) {
    const auto parsed = ParseDurationFlag("--timeout", timeout_text);
    if (!parsed.ok()) return context.Fail(parsed.status());
    timeout = *parsed;
  }
  auto client = context.Connect();
  if (!client.ok()) return context.Fail(client.status());
  const auto job = (*client)->WaitJob(ResourceName("jobs", name), timeout);
  if (!job.ok()) return context.Fail(job.status());
  std::cout << (context.json ? ToJson(*job) : client::StateName(job->state())) << std::endl;
  return FinishedJobExitCode(context, *job);
}

int Watch(Context& context, const std::string& name) {
  auto client = context.Connect();
  if (!client.ok()) return context.Fail(client.status());
  const auto job = (*client)->GetJob(ResourceName("jobs", name));
  if (!job.ok()) return context.Fail(job.status());
  const auto done = FollowJob(**client, context, *job,
                              {.cancel_on_interrupt = false, .print_events = true, .on_log = {}});
  if (!done.ok()) return context.Fail(done.status());
  if (!context.json) std::cout << client::StateName(done->state()) << std::endl;
  return FinishedJobExitCode(context, *done);
}

int Logs(Context& context, const std::string& name, bool follow) {
  auto client = context.Connect();
  if (!client.ok()) return context.Fail(client.status());
  const absl::Status status =
      (*client)->StreamLogs(ResourceName("jobs", name), follow, [&](const v1::JobLog& line) {
        std::cout << (context.json ? ToJson(line, /*compact=*/true) : line.line()) << std::endl;
        return true;
      });
  return status.ok() ? kOk : context.Fail(status);
}

}  // namespace

void AddWaitCommand(CLI::App& app, Context& context) {
  auto name = std::make_shared<std::string>();
  auto timeout = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand("wait", "Wait until a job has ended; prints its state");
  command->add_option("JOB", *name, "jobs/ID, or just ID")->required();
  command
      ->add_option("--timeout", *timeout, "Give up after this long, such as 10m (default: never)")
      ->type_name("DURATION");
  command->callback([&context, name, timeout] { Wait(context, *name, *timeout); });
}

void AddWatchCommand(CLI::App& app, Context& context) {
  auto name = std::make_shared<std::string>();
  CLI::App* command =
      app.add_subcommand("watch", "Follow a job's progress; Ctrl-C stops following, not the job");
  command->add_option("JOB", *name, "jobs/ID, or just ID")->required();
  command->callback([&context, name] { Watch(context, *name); });
}

void AddLogsCommand(CLI::App& app, Context& context) {
  auto name = std::make_shared<std::string>();
  auto follow = std::make_shared<bool>(false);
  CLI::App* command = app.add_subcommand("logs", "Print a job's log");
  command->add_option("JOB", *name, "jobs/ID, or just ID")->required();
  command->add_flag("-f,--follow", *follow, "Go on until the job has ended");
  command->callback([&context, name, follow] { Logs(context, *name, *follow); });
}

}  // namespace lathe::cli
