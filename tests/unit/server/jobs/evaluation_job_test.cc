// Evaluations, and results that miss a constraint.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/server/jobs/job_test_util.h"

namespace lathe::server {
namespace {

class EvaluationJob : public JobServiceFixture {
 protected:
  static v1::CompleteAttemptRequest Rejection(const v1::Attempt& attempt) {
    v1::CompleteAttemptRequest request =
        Failure(attempt, v1::JOB_ERROR_REASON_TOLERANCE_NOT_MET, false, "accuracy fell by 0.03");
    *request.mutable_failure()->mutable_rejected() = Success(attempt).success();
    return request;
  }
};

TEST_F(EvaluationJob, ARejectedResultFailsTheJobAndIsKeptAsRejected) {
  const std::string model = MakeModelNamed("same");
  const std::string name = Submit(Args(model));
  ASSERT_TRUE(Complete(Rejection(Lease())).ok());
  const v1::Job job = Get(name);
  EXPECT_EQ(job.state(), v1::JOB_STATE_FAILED);
  EXPECT_EQ(job.error().reason(), v1::JOB_ERROR_REASON_TOLERANCE_NOT_MET);
  EXPECT_TRUE(job.result().rejected());
  EXPECT_EQ(job.result().report_digest(), "report");
  const auto kept = library_->GetModel(job.result().model());
  ASSERT_TRUE(kept.ok()) << kept.status();
  EXPECT_EQ(kept->display_name(), "net.onnx (rejected)");
  EXPECT_EQ(observer_.Of("completed fp16 failed TOLERANCE_NOT_MET"), 1);
  // It answers for no other job.
  const std::string again = Submit(Args(model));
  EXPECT_EQ(Get(again).state(), v1::JOB_STATE_PENDING);
}

TEST_F(EvaluationJob, ARejectedResultNeedsItsBlobs) {
  Submit();
  const v1::CompleteAttemptRequest request = Rejection(Lease());
  blobs_.TakeAway("report");
  EXPECT_EQ(Complete(request).code(), absl::StatusCode::kFailedPrecondition);
  blobs_.PutBack("report");
  EXPECT_TRUE(Complete(request).ok());
}

TEST_F(EvaluationJob, ACancelledJobKeepsNoRejectedResult) {
  const std::string name = Submit();
  const v1::Attempt attempt = Lease();
  ASSERT_TRUE(jobs_->CancelJob(name).ok());
  (void)Complete(Rejection(attempt));
  clock_.Advance(absl::Minutes(1));
  jobs_->Tick();
  const v1::Job job = Get(name);
  EXPECT_EQ(job.state(), v1::JOB_STATE_CANCELLED);
  EXPECT_FALSE(job.has_result());
}

TEST_F(EvaluationJob, ItsAttemptHasBothModelsAndItsResultIsAReport) {
  CreateJobArgs args = Args(MakeModelNamed("one"));
  args.job.set_kind(v1::JOB_KIND_EVALUATE);
  args.job.set_compared_model(MakeModelNamed("two"));
  args.job.clear_recipe();
  args.recipe_json = R"({"seed":0,"steps":[]})";
  const std::string name = Submit(args);
  const v1::Attempt attempt = Lease();
  EXPECT_EQ(attempt.kind(), v1::ATTEMPT_KIND_EVALUATE);
  ASSERT_EQ(attempt.compared_files_size(), 1);
  EXPECT_EQ(attempt.compared_files(0).digest(), "digest-two");
  EXPECT_EQ(attempt.compared_main_file(), "net.onnx");
  ASSERT_TRUE(Complete(Success(attempt)).ok());
  const v1::Job job = Get(name);
  EXPECT_EQ(job.state(), v1::JOB_STATE_SUCCEEDED);
  EXPECT_EQ(job.kind(), v1::JOB_KIND_EVALUATE);
  EXPECT_EQ(job.result().report_digest(), "report");
  EXPECT_EQ(job.result().model(), "");
  EXPECT_EQ(observer_.Of("completed evaluate succeeded "), 1);
}

TEST_F(EvaluationJob, AModelToCompareWithThatIsNotThereIsNamed) {
  CreateJobArgs args = Args(MakeModelNamed());
  args.job.set_kind(v1::JOB_KIND_EVALUATE);
  args.job.set_compared_model("models/none");
  const absl::Status refused = jobs_->CreateJob(args).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.message()), ::testing::HasSubstr("models/none"));
}

}  // namespace
}  // namespace lathe::server
