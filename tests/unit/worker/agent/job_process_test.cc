// Real processes: every way to end is brought about, and must be reported as what it was.
#include "worker/agent/job_process.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "common/ids.h"
#include "worker/agent/exit_cause.h"
#include "worker/agent/work_folder.h"

namespace lathe::worker {
namespace {

using lathe::v1::JobErrorReason;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::SizeIs;

class JobProcessTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto folder = WorkFolder::Create(::testing::TempDir() + "/job-" + RandomIdGenerator().NewId());
    ASSERT_TRUE(folder.ok()) << folder.status();
    folder_ = *std::move(folder);
  }

  // Options for a job that does `what`.
  JobProcessOptions Options(const std::string& what, JobLimits limits = {}) {
    JobSpec spec;
    spec.recipe_json = what;
    spec.input_folder = folder_->in();
    spec.output_folder = folder_->out();
    spec.meta_folder = folder_->meta();
    spec.temp_folder = folder_->tmp();
    spec.limits = limits;
    spec.parent_pid = getpid();
    JobProcessOptions options;
    options.job_binary = LATHE_FAKE_JOB;
    options.spec_path = folder_->path() + "/spec.json";
    options.limits = limits;
    options.kill_grace = absl::Milliseconds(200);
    options.watch_interval = absl::Milliseconds(20);
    std::ofstream(options.spec_path) << EncodeJobSpec(spec);
    return options;
  }

  std::unique_ptr<WorkFolder> folder_;
};

struct EndCase {
  const char* what;
  AttemptEnd::Kind kind;
  const char* cause;
  JobErrorReason reason;
  bool transient;
  const char* message;
};

class JobEndTest : public JobProcessTest, public ::testing::WithParamInterface<EndCase> {};

TEST_P(JobEndTest, IsReportedAsWhatItWas) {
  const EndCase& expected = GetParam();
  const JobProcessOptions options = Options(expected.what, {0, 1, 0});
  JobProcess process(options, {});
  const JobExit exit = process.Run();
  const AttemptEnd end = ClassifyExit(exit, options);
  EXPECT_EQ(end.kind, expected.kind);
  EXPECT_EQ(end.cause, expected.cause);
  EXPECT_EQ(end.reason, expected.reason) << end.message;
  EXPECT_EQ(end.transient, expected.transient);
  EXPECT_THAT(end.message, HasSubstr(expected.message));
  EXPECT_THAT(kExitCauses, Contains(end.cause));
}

constexpr auto kFailed = AttemptEnd::Kind::kFailed;
INSTANTIATE_TEST_SUITE_P(
    Causes, JobEndTest,
    ::testing::Values(
        EndCase{"succeed", AttemptEnd::Kind::kSucceeded, "ok", {}, false, ""},
        EndCase{"leave_child", AttemptEnd::Kind::kSucceeded, "ok", {}, false, ""},
        EndCase{"error 3 INVALID_MODEL", kFailed, "error",
                lathe::v1::JOB_ERROR_REASON_INVALID_MODEL, false, "node conv_7 is bad"},
        EndCase{"error 3 INVALID_RECIPE", kFailed, "error",
                lathe::v1::JOB_ERROR_REASON_INVALID_RECIPE, false, "conv_7"},
        EndCase{"error 3 INVALID_DATASET", kFailed, "error",
                lathe::v1::JOB_ERROR_REASON_INVALID_DATASET, false, "conv_7"},
        EndCase{"error 12 UNSUPPORTED_OP", kFailed, "error",
                lathe::v1::JOB_ERROR_REASON_UNSUPPORTED_OP, false, "conv_7"},
        // A reason that only the agent may give is not taken from the job.
        EndCase{"error 3 LEASE_LOST", kFailed, "error", lathe::v1::JOB_ERROR_REASON_INVALID_MODEL,
                false, "conv_7"},
        EndCase{"error 12 ", kFailed, "error", lathe::v1::JOB_ERROR_REASON_UNSUPPORTED_OP, false,
                "conv_7"},
        EndCase{"error 8 ", kFailed, "oom", lathe::v1::JOB_ERROR_REASON_WORKER_OOM_KILLED, true,
                "conv_7"},
        EndCase{"error 8 DISK_FULL", kFailed, "disk_full", lathe::v1::JOB_ERROR_REASON_DISK_FULL,
                true, "conv_7"},
        EndCase{"error 13 ", kFailed, "error", lathe::v1::JOB_ERROR_REASON_INTERNAL, false,
                "conv_7"},
        EndCase{"error 1 ", kFailed, "error", lathe::v1::JOB_ERROR_REASON_INTERNAL, true,
                "other than its worker"},
        EndCase{"segv", kFailed, "crash", lathe::v1::JOB_ERROR_REASON_WORKER_CRASHED, true,
                "SIGSEGV (Segmentation fault) in stage prune_weights; last output: about to fail"},
        EndCase{"abort", kFailed, "crash", lathe::v1::JOB_ERROR_REASON_WORKER_CRASHED, true,
                "SIGABRT"},
        EndCase{"abort_bad_alloc", kFailed, "oom", lathe::v1::JOB_ERROR_REASON_WORKER_OOM_KILLED,
                true, "could not get more memory"},
        EndCase{"exit_out_of_memory", kFailed, "oom", lathe::v1::JOB_ERROR_REASON_WORKER_OOM_KILLED,
                true, "could not get more memory"},
        EndCase{"exit_7", kFailed, "crash", lathe::v1::JOB_ERROR_REASON_WORKER_CRASHED, true,
                "exit code 7"},
        EndCase{"exit_0_without_result", kFailed, "crash",
                lathe::v1::JOB_ERROR_REASON_WORKER_CRASHED, true, "without a result"},
        EndCase{"garbage", kFailed, "crash", lathe::v1::JOB_ERROR_REASON_WORKER_CRASHED, true,
                "without a result"},
        EndCase{"kill_self", kFailed, "oom", lathe::v1::JOB_ERROR_REASON_WORKER_OOM_KILLED, true,
                "killed from outside"},
        EndCase{"spin", kFailed, "deadline", lathe::v1::JOB_ERROR_REASON_RUN_DEADLINE, false,
                "--cpu-seconds-limit"}),
    [](const auto& test) {
      std::string name = test.param.what;
      for (char& c : name) c = isalnum(static_cast<unsigned char>(c)) ? c : '_';
      return name + std::to_string(test.index);
    });

TEST_F(JobProcessTest, MemoryPastTheLimitIsAnOutOfMemoryKillThatTellsPeakAndLimit) {
  const JobProcessOptions options = Options("eat_memory", {96 << 20, 0, 0});
  JobProcess process(options, {});
  const JobExit exit = process.Run();
  const AttemptEnd end = ClassifyExit(exit, options);
  EXPECT_EQ(end.reason, lathe::v1::JOB_ERROR_REASON_WORKER_OOM_KILLED);
  EXPECT_TRUE(end.transient);
  EXPECT_THAT(end.message, HasSubstr("limit 96 MiB"));
  EXPECT_GT(exit.peak_rss_bytes, 90 << 20);
  EXPECT_EQ(process.peak_rss_bytes(), exit.peak_rss_bytes);
}

TEST_F(JobProcessTest, SilenceWithoutProcessorTimeIsAHang) {
  for (const char* what : {"hang", "hang_with_closed_pipes"}) {
    JobProcessOptions options = Options(what);
    options.hang_after = absl::Milliseconds(150);
    JobProcess process(options, {});
    const AttemptEnd end = ClassifyExit(process.Run(), options);
    EXPECT_EQ(end.cause, "hang") << what;
    EXPECT_EQ(end.reason, lathe::v1::JOB_ERROR_REASON_WORKER_CRASHED);
    EXPECT_TRUE(end.transient);
    EXPECT_THAT(end.message, HasSubstr("hung: it told nothing for 150ms"));
  }
}

TEST_F(JobProcessTest, BusySilenceIsGivenTwelveTimesAsLong) {
  JobProcessOptions options = Options("spin");
  options.hang_after = absl::Milliseconds(50);
  JobProcess process(options, {});
  const JobExit exit = process.Run();
  EXPECT_EQ(ClassifyExit(exit, options).cause, "hang");
  EXPECT_GE(exit.elapsed, absl::Milliseconds(600));
}

TEST_F(JobProcessTest, TheRunDeadlineIsPermanent) {
  JobProcessOptions options = Options("hang");
  options.max_run = absl::Milliseconds(100);
  JobProcess process(options, {});
  const AttemptEnd end = ClassifyExit(process.Run(), options);
  EXPECT_EQ(end.reason, lathe::v1::JOB_ERROR_REASON_RUN_DEADLINE);
  EXPECT_FALSE(end.transient);
  EXPECT_THAT(end.message, HasSubstr("max_run_duration of 100ms"));
}

// Stops the process from another thread once it is in the given stage.
JobExit StopInStage(const JobProcessOptions& options, const std::string& stage, StopCause cause) {
  absl::Notification reached;
  JobCallbacks callbacks;
  callbacks.progress = [&](const ProgressEvent& e) {
    if (e.stage == stage && !reached.HasBeenNotified()) reached.Notify();
  };
  JobProcess process(options, callbacks);
  std::thread stopper([&] {
    reached.WaitForNotification();
    process.Stop(cause);
  });
  JobExit exit = process.Run();
  stopper.join();
  return exit;
}

TEST_F(JobProcessTest, CancellingAsksFirst) {
  const JobProcessOptions options = Options("stop_politely");
  const JobExit exit = StopInStage(options, "prune_weights", StopCause::kCancelled);
  EXPECT_EQ(ClassifyExit(exit, options).kind, AttemptEnd::Kind::kCancelled);
  EXPECT_FALSE(exit.signaled);
  EXPECT_EQ(exit.code, kExitError);
}

TEST_F(JobProcessTest, CancellingKillsWhatDoesNotListen) {
  const JobProcessOptions options = Options("stop_never");
  const JobExit exit = StopInStage(options, "deaf", StopCause::kCancelled);
  EXPECT_EQ(ClassifyExit(exit, options).kind, AttemptEnd::Kind::kCancelled);
  EXPECT_TRUE(exit.signaled);
  EXPECT_EQ(exit.code, SIGKILL);
  EXPECT_GE(exit.elapsed, options.kill_grace);
}

TEST_F(JobProcessTest, InterruptsAndLostLeasesKillAtOnce) {
  JobProcessOptions options = Options("stop_never");
  options.kill_grace = absl::Hours(1);
  EXPECT_EQ(ClassifyExit(StopInStage(options, "deaf", StopCause::kInterrupted), options).kind,
            AttemptEnd::Kind::kInterrupted);
  EXPECT_EQ(ClassifyExit(StopInStage(options, "deaf", StopCause::kLeaseLost), options).kind,
            AttemptEnd::Kind::kLeaseLost);
}

TEST_F(JobProcessTest, AStopBeforeTheStartStillCounts) {
  const JobProcessOptions options = Options("hang");
  JobProcess process(options, {});
  process.Stop(StopCause::kInterrupted);
  EXPECT_EQ(ClassifyExit(process.Run(), options).kind, AttemptEnd::Kind::kInterrupted);
}

TEST_F(JobProcessTest, AFinishedResultSurvivesALateInterrupt) {
  JobExit exit;
  exit.result = ResultEvent{};
  exit.stop_cause = StopCause::kInterrupted;
  EXPECT_EQ(ClassifyExit(exit, {}).kind, AttemptEnd::Kind::kSucceeded);
  exit.stop_cause = StopCause::kCancelled;
  EXPECT_EQ(ClassifyExit(exit, {}).kind, AttemptEnd::Kind::kCancelled);
}

TEST_F(JobProcessTest, AMissingProgramIsTransientAndNamed) {
  JobProcessOptions options = Options("succeed");
  options.job_binary = "/nonexistent/lathe-job";
  JobProcess process(options, {});
  const AttemptEnd end = ClassifyExit(process.Run(), options);
  EXPECT_EQ(end.cause, "not_started");
  EXPECT_TRUE(end.transient);
  EXPECT_THAT(end.message, HasSubstr("/nonexistent/lathe-job"));
}

TEST_F(JobProcessTest, LogAndOutputArriveInOrderAsCleanText) {
  std::vector<std::string> lines;
  JobCallbacks callbacks;
  callbacks.log = [&](const std::string& line) { lines.push_back(line); };
  JobProcess process(Options("talk"), callbacks);
  const JobExit exit = process.Run();
  ASSERT_TRUE(exit.result.has_value());
  ASSERT_THAT(lines, SizeIs(5001));
  EXPECT_THAT(lines, Contains("last words \xef\xbf\xbd"));
  int next = 0;
  for (const std::string& line : lines) {
    if (line == absl::StrCat("line ", next)) ++next;
  }
  EXPECT_EQ(next, 5000);
}

TEST_F(JobProcessTest, TheJobSeesNoSecretOfTheWorker) {
  setenv("LATHE_TOKEN_FILE", "/secret", 1);
  setenv("OPENBLAS_CORETYPE", "Haswell", 1);
  JobProcessOptions options = Options("succeed");
  const std::string shown = folder_->path() + "/environment";
  const std::string script = folder_->path() + "/show.sh";
  std::ofstream(script) << "#!/bin/sh\nenv > " << shown << "\n";
  std::filesystem::permissions(script, std::filesystem::perms::owner_all);
  options.job_binary = script;
  JobProcess(options, {}).Run();
  std::ifstream in(shown);
  const std::string environment(std::istreambuf_iterator<char>(in), {});
  EXPECT_THAT(environment, ::testing::Not(HasSubstr("LATHE_TOKEN_FILE")));
  EXPECT_THAT(environment, HasSubstr("OPENBLAS_CORETYPE=Haswell"));
  EXPECT_THAT(environment, HasSubstr("OPENBLAS_NUM_THREADS=1"));
  unsetenv("LATHE_TOKEN_FILE");
  unsetenv("OPENBLAS_CORETYPE");
}

}  // namespace
}  // namespace lathe::worker
