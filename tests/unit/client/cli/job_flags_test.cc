// A job from flags, and the exit code of a finished one.
#include "client/cli/job_flags.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/temp_folder.h"

namespace lathe::cli {
namespace {

using ::testing::HasSubstr;

JobFlags Step(const std::string& step) {
  JobFlags flags;
  flags.steps = {step};
  return flags;
}

std::string Refusal(const JobFlags& flags) {
  const auto job = flags.ToJob();
  EXPECT_EQ(job.status().code(), absl::StatusCode::kInvalidArgument);
  return std::string(job.status().message());
}

TEST(JobFlags, SectionsComeFromFlags) {
  JobFlags flags = Step("fp16");
  flags.evaluate = {"task=classification,top_k=3", "latency=false"};
  flags.preprocess = {"mean=0.5|1,resize=32|48"};
  flags.split = {"test=0.25"};
  flags.constraints = {"max_accuracy_drop=0.01", "max_file_bytes=1000"};
  const auto job = flags.ToJob();
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->recipe().evaluate().top_k(0), 3);
  EXPECT_FALSE(job->recipe().evaluate().latency());
  EXPECT_EQ(job->recipe().preprocess().mean_size(), 2);
  EXPECT_EQ(job->recipe().preprocess().resize(1), 48);
  EXPECT_EQ(job->recipe().split().test(), 0.25);
  EXPECT_EQ(job->recipe().constraints().max_file_bytes(), 1000);
  flags.constraints = {"max_acuracy_drop=0.01"};
  EXPECT_THAT(Refusal(flags), HasSubstr("did you mean \"max_accuracy_drop\""));
}

TEST(JobFlags, ATeacherIsForStepsThatDistil) {
  JobFlags flags = Step("fine_tune:epochs=1");
  flags.teacher = "teacher.onnx";
  EXPECT_THAT(Refusal(flags), HasSubstr("--teacher teacher.onnx: only distill steps"));
  flags.steps.push_back("distill");
  EXPECT_TRUE(flags.ToJob().ok());
}

TEST(JobFlags, AFileMayHaveAnEqualsSignInItsName) {
  const lathe::testing::TempFolder folder;
  JobFlags flags = Step("fp16");
  flags.data = {folder.Write("a=b.npz", ""), "all=" + folder.Write("c.npz", "")};
  EXPECT_TRUE(flags.ToJob().ok());
}

TEST(JobFlags, StepsBindingsLabelsAndBoundsBecomeAJob) {
  JobFlags flags = Step("quantize_weights:bits=4,granularity=group");
  flags.steps.push_back("fp16");
  flags.seed = 7;
  flags.bindings = {"batch=8"};
  flags.labels = {"team=vision=2"};
  flags.priority = -5;
  flags.max_run = "1.5s";
  flags.max_pending = "10m";
  const auto job = flags.ToJob();
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->recipe().steps_size(), 2);
  EXPECT_EQ(job->recipe().steps(0).quantize_weights().bits(), 4);
  EXPECT_EQ(job->recipe().seed(), 7u);
  EXPECT_EQ(job->bindings().at("batch"), 8);
  EXPECT_EQ(job->labels().at("team"), "vision=2");
  EXPECT_EQ(job->priority(), -5);
  EXPECT_EQ(job->max_run_duration().seconds(), 2);  // up to whole seconds
  EXPECT_EQ(job->max_pending_duration().seconds(), 600);
}

TEST(JobFlags, TheSeedOfTheFlagWinsOverTheFiles) {
  const lathe::testing::TempFolder folder;
  JobFlags flags;
  flags.recipe_file = folder.Write("r.yaml", "steps:\n  - fp16: {}\nseed: 1\n");
  EXPECT_EQ(flags.ToJob()->recipe().seed(), 1u);
  flags.seed = 2;
  EXPECT_EQ(flags.ToJob()->recipe().seed(), 2u);
}

TEST(JobFlags, WrongOnesAreRefusedWithTheFlagOrFile) {
  EXPECT_THAT(Refusal({}), HasSubstr("--step quantize_weights:bits=8"));
  JobFlags both = Step("fp16");
  both.recipe_file = "r.yaml";
  EXPECT_THAT(Refusal(both), HasSubstr("not both"));
  JobFlags missing;
  missing.recipe_file = "/nonexistent/r.yaml";
  EXPECT_THAT(Refusal(missing), HasSubstr("/nonexistent/r.yaml"));
  JobFlags label = Step("fp16");
  label.labels = {"team"};
  EXPECT_THAT(Refusal(label), HasSubstr("--label team"));
  JobFlags run = Step("fp16");
  run.max_run = "long";
  EXPECT_THAT(Refusal(run), HasSubstr("--max-run long"));
  JobFlags data = Step("fp16");
  data.data = {"tset=/nonexistent/d.npz"};
  EXPECT_THAT(Refusal(data), HasSubstr("did you mean \"test\""));
  data.data = {"test=/nonexistent/d.npz"};
  EXPECT_THAT(Refusal(data), HasSubstr("/nonexistent/d.npz"));
  EXPECT_THAT(Refusal(Step("quantize_weights:bits=9")), HasSubstr("[2, 8]"));
}

TEST(FinishedJob, HasAnExitCodeAndAReason) {
  const auto code_of = [](v1::JobState state, std::string* told) {
    Context context;
    v1::Job job;
    job.set_name("jobs/x");
    job.set_state(state);
    job.mutable_error()->set_reason(v1::JOB_ERROR_REASON_INVALID_MODEL);
    job.mutable_error()->set_message("node fc1 has no input");
    ::testing::internal::CaptureStderr();
    const int code = FinishedJobExitCode(context, job);
    *told = ::testing::internal::GetCapturedStderr();
    return code;
  };
  std::string told;
  EXPECT_EQ(code_of(v1::JOB_STATE_SUCCEEDED, &told), kOk);
  EXPECT_EQ(told, "");
  EXPECT_EQ(code_of(v1::JOB_STATE_FAILED, &told), kJobFailed);
  EXPECT_EQ(told, "lathe: jobs/x failed (INVALID_MODEL): node fc1 has no input\n");
  EXPECT_EQ(code_of(v1::JOB_STATE_CANCELLED, &told), kJobCancelled);
  EXPECT_EQ(told, "lathe: jobs/x was cancelled\n");
}

}  // namespace
}  // namespace lathe::cli
