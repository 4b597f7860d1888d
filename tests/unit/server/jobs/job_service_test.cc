// What callers that wait see, and names that do not exist. The rest of the service is tested by
// what it does: job_creation_test.cc, job_lifecycle_test.cc.
#include "server/jobs/job_service.h"

#include <gtest/gtest.h>

#include <thread>

#include "tests/unit/server/jobs/job_test_util.h"

namespace lathe::server {
namespace {

using JobServiceTest = JobServiceFixture;

TEST_F(JobServiceTest, WaitersWakeWhenTheJobEndsAndEventsOnlyGrow) {
  const std::string job = Submit();
  v1::JobState seen = v1::JOB_STATE_UNSPECIFIED;
  std::thread waiter([&] {
    const auto waited = jobs_->WaitJob(job, {absl::Seconds(60), nullptr});
    if (waited.ok()) seen = waited->state();
  });
  ASSERT_TRUE(jobs_->CompleteAttempt(Success(Lease())).ok());
  waiter.join();
  EXPECT_EQ(seen, v1::JOB_STATE_SUCCEEDED);
  const auto events = jobs_->NextEvents(job, 0, {});
  ASSERT_TRUE(events.ok()) << events.status();
  EXPECT_TRUE(events->ended);
  ASSERT_GE(events->events.size(), 3u);
  for (size_t i = 1; i < events->events.size(); ++i) {
    EXPECT_GT(events->events[i].sequence(), events->events[i - 1].sequence());
  }
}

TEST_F(JobServiceTest, AWaitThatRunsOutAnswersWithTheJobAsItIs) {
  const auto job = jobs_->WaitJob(Submit(), {});
  ASSERT_TRUE(job.ok()) << job.status();
  EXPECT_EQ(job->state(), v1::JOB_STATE_PENDING);
}

TEST_F(JobServiceTest, AFreedSlotGetsTheNextJobInTheCallThatIsHeld) {
  Submit();
  const v1::Attempt first = Lease();
  const std::string next = Submit();
  v1::SynchronizeRequest request;
  request.set_worker_id("w1");
  request.set_slots(1);
  request.add_running()->set_job(first.job());
  request.mutable_running(0)->set_lease_token(first.lease_token());
  const absl::Time begin = absl::Now();
  absl::StatusOr<v1::SynchronizeResponse> response;
  std::thread held([&] { response = jobs_->Synchronize(request, {absl::Seconds(60), nullptr}); });
  ASSERT_TRUE(jobs_->CompleteAttempt(Success(first)).ok());
  held.join();
  ASSERT_TRUE(response.ok()) << response.status();
  ASSERT_EQ(response->start_size(), 1);
  EXPECT_EQ(response->start(0).job(), next);
  EXPECT_LT(absl::Now() - begin, absl::Seconds(60)) << "only when the call ran out";
}

TEST_F(JobServiceTest, HigherPriorityRunsFirst) {
  Submit();
  CreateJobArgs urgent = Args(MakeModelNamed());
  urgent.job.set_priority(5);
  const std::string name = Submit(urgent);
  EXPECT_EQ(Lease().job(), name);
}

TEST_F(JobServiceTest, CancellingAnEndedJobChangesNothing) {
  const std::string job = Submit();
  ASSERT_TRUE(jobs_->CancelJob(job).ok());
  const v1::Job before = Get(job);
  EXPECT_EQ(jobs_->CancelJob(job)->event_sequence(), before.event_sequence());
  EXPECT_EQ(Get(job).state(), v1::JOB_STATE_CANCELLED);
}

TEST_F(JobServiceTest, JobsThatDoNotExistAreNamedSo) {
  EXPECT_EQ(ReasonOf(jobs_->GetJob("jobs/none").status()), "JOB_NOT_FOUND");
  EXPECT_EQ(ReasonOf(jobs_->CancelJob("jobs/none").status()), "JOB_NOT_FOUND");
  EXPECT_EQ(ReasonOf(jobs_->RetryJob("jobs/none", "").status()), "JOB_NOT_FOUND");
  EXPECT_EQ(ReasonOf(jobs_->DeleteJob("jobs/none")), "JOB_NOT_FOUND");
  EXPECT_EQ(ReasonOf(jobs_->WaitJob("jobs/none", {}).status()), "JOB_NOT_FOUND");
  EXPECT_EQ(ReasonOf(jobs_->NextEvents("jobs/none", 0, {}).status()), "JOB_NOT_FOUND");
  EXPECT_EQ(ReasonOf(jobs_->GetReport("jobs/none").status()), "JOB_NOT_FOUND");
}

TEST_F(JobServiceTest, AJobThatHasNotEndedIsNotRetriedAndHasNoReport) {
  const std::string job = Submit();
  EXPECT_EQ(ReasonOf(jobs_->RetryJob(job, "").status()), "JOB_NOT_ENDED");
  EXPECT_EQ(ReasonOf(jobs_->GetReport(job).status()), "NO_REPORT");
}

}  // namespace
}  // namespace lathe::server
