// Results, fencing, retries, cancellation, deadlines, recovery: on a clock that the test holds.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/server/jobs/job_test_util.h"

namespace lathe::server {
namespace {

using ::testing::HasSubstr;

class JobLifecycle : public JobServiceFixture {};

TEST_F(JobLifecycle, FromLeaseToResult) {
  const std::string name = Submit();
  clock_.Advance(absl::Seconds(3));
  const v1::Attempt attempt = Lease();
  EXPECT_EQ(attempt.job(), name);
  EXPECT_EQ(attempt.attempt_number(), 1);
  EXPECT_EQ(attempt.kind(), v1::ATTEMPT_KIND_COMPRESS);
  EXPECT_EQ(attempt.files_size(), 1);
  EXPECT_EQ(attempt.main_file(), "net.onnx");
  EXPECT_EQ(attempt.max_run_duration().seconds(), 24 * 3600);
  v1::Job job = Get(name);
  EXPECT_EQ(job.state(), v1::JOB_STATE_RUNNING);
  EXPECT_EQ(job.worker(), "workers/w1");
  EXPECT_EQ(job.attempt_count(), 1);
  clock_.Advance(absl::Seconds(5));
  v1::CompleteAttemptRequest success = Success(attempt);
  success.set_peak_rss_bytes(77);
  ASSERT_TRUE(Complete(success).ok());
  job = Get(name);
  EXPECT_EQ(job.state(), v1::JOB_STATE_SUCCEEDED);
  EXPECT_EQ(job.end_time().seconds() - job.start_time().seconds(), 5);
  EXPECT_EQ(job.result().files(0).size_bytes(), 1000);
  EXPECT_EQ(job.result().build_id(), "build");
  const auto model = library_->GetModel(job.result().model());
  ASSERT_TRUE(model.ok());
  EXPECT_EQ(model->source_job(), name);
  EXPECT_EQ(model->total_bytes(), 1000);
  EXPECT_EQ(observer_.Of("completed fp16 succeeded "), 1);
  EXPECT_EQ(observer_.Of("queued 3s"), 1);
  EXPECT_EQ(observer_.Of("ran 5s"), 1);
  EXPECT_EQ(observer_.Of("rss 77"), 1);
  EXPECT_EQ(observer_.Of("ratio fp16 4"), 1);
}

TEST_F(JobLifecycle, ALateCompletionIsAbortedAndOverwritesNothing) {
  const std::string name = Submit();
  const v1::Attempt late = Lease("w1");
  AdvanceAndTick(absl::Seconds(16));  // lost
  EXPECT_EQ(ReasonOf(Complete(Success(late, "w1"))), "STALE_LEASE");
  EXPECT_EQ(Get(name).state(), v1::JOB_STATE_PENDING);
  AdvanceAndTick(absl::Seconds(2));
  const v1::Attempt fresh = Lease("w2");
  EXPECT_EQ(fresh.job(), name);
  EXPECT_GT(fresh.lease_token(), late.lease_token());
  EXPECT_EQ(fresh.attempt_number(), 2);
  // The old worker wakes up: its report renews nothing, it is told to stop, its result is refused.
  const auto told = Sync("w1", {{name, late.lease_token()}});
  ASSERT_EQ(told.stop_size(), 1);
  EXPECT_EQ(told.stop(0).lease_token(), late.lease_token());
  v1::CompleteAttemptRequest other = Success(late, "w1");
  other.mutable_success()->mutable_files(0)->set_digest("stale result");
  const absl::Status status = Complete(other);
  EXPECT_EQ(status.code(), absl::StatusCode::kAborted);
  EXPECT_EQ(ReasonOf(status), "STALE_LEASE");
  ASSERT_TRUE(Complete(Success(fresh, "w2")).ok());
  EXPECT_EQ(ReasonOf(Complete(other)), "STALE_LEASE");
  EXPECT_EQ(Get(name).result().files(0).digest(), "result");
  EXPECT_EQ(observer_.Of("stale"), 3);
  EXPECT_FALSE(*jobs_->IsReferenced("stale result"));
}

TEST_F(JobLifecycle, RepeatingACompletionIsOkAndChangesNothing) {
  const std::string name = Submit();
  const v1::CompleteAttemptRequest success = Success(Lease());
  ASSERT_TRUE(Complete(success).ok());
  const v1::Job before = Get(name);
  EXPECT_TRUE(Complete(success).ok());
  EXPECT_EQ(Get(name).SerializeAsString(), before.SerializeAsString());
  Restart();
  EXPECT_TRUE(Complete(success).ok());
  EXPECT_EQ(library_->ListModels(10, "")->models_size(), 2);  // input and one result
  // The same token with another outcome is no repetition.
  v1::CompleteAttemptRequest other = success;
  other.mutable_failure()->set_message("no");
  EXPECT_EQ(Complete(other).code(), absl::StatusCode::kAborted);
}

TEST_F(JobLifecycle, SuccessNeedsItsBlobsAndMayBeRepeatedOnceTheyAreThere) {
  const std::string name = Submit();
  const v1::CompleteAttemptRequest success = Success(Lease());
  for (const char* digest : {"result", "report", "text"}) {
    blobs_.TakeAway(digest);
    const absl::Status status = Complete(success);
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_EQ(ReasonOf(status), "BLOB_MISSING");
    EXPECT_THAT(std::string(status.message()), HasSubstr(digest));
    EXPECT_EQ(Get(name).state(), v1::JOB_STATE_RUNNING);
    blobs_.PutBack(digest);
  }
  EXPECT_TRUE(Complete(success).ok());
}

TEST_F(JobLifecycle, ACompletionMustSayWhatCameOfIt) {
  Submit();
  const absl::Status status = Complete(Completion(Lease()));
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(FieldOf(status), "outcome");
}

TEST_F(JobLifecycle, TransientFailuresBackOffExponentiallyAndEndAtMaxAttempts) {
  const std::string name = Submit();
  const absl::Duration waits[] = {absl::Seconds(1), absl::Seconds(2)};
  for (int attempt = 1; attempt <= 3; ++attempt) {
    const v1::Attempt leased = Lease();
    EXPECT_EQ(leased.attempt_number(), attempt);
    ASSERT_TRUE(
        Complete(Failure(leased, v1::JOB_ERROR_REASON_WORKER_OOM_KILLED, true, "out of memory"))
            .ok());
    if (attempt == 3) break;
    EXPECT_EQ(Get(name).state(), v1::JOB_STATE_PENDING);
    EXPECT_EQ(Get(name).error().reason(), v1::JOB_ERROR_REASON_WORKER_OOM_KILLED);
    AdvanceAndTick(waits[attempt - 1] - absl::Milliseconds(1));
    EXPECT_EQ(Sync("w1").start_size(), 0) << "too early after attempt " << attempt;
    AdvanceAndTick(absl::Milliseconds(1));
  }
  const v1::Job job = Get(name);
  EXPECT_EQ(job.state(), v1::JOB_STATE_FAILED);
  EXPECT_EQ(job.error().reason(), v1::JOB_ERROR_REASON_ATTEMPTS_EXHAUSTED);
  EXPECT_THAT(job.error().message(), HasSubstr("WORKER_OOM_KILLED: out of memory"));
  EXPECT_FALSE(job.error().will_retry());
  EXPECT_EQ(job.attempt_count(), 3);
  EXPECT_EQ(observer_.Of("retried WORKER_OOM_KILLED"), 2);
  EXPECT_EQ(observer_.Of("completed fp16 failed ATTEMPTS_EXHAUSTED"), 1);
  EXPECT_EQ(ReasonOf(jobs_->GetReport(name).status()), "NO_REPORT");
}

TEST_F(JobLifecycle, APermanentFailureEndsTheJobOnItsFirstAttempt) {
  const std::string name = Submit();
  ASSERT_TRUE(
      Complete(Failure(Lease(), v1::JOB_ERROR_REASON_INVALID_MODEL, false, "node conv1: NaN"))
          .ok());
  const v1::Job job = Get(name);
  EXPECT_EQ(job.state(), v1::JOB_STATE_FAILED);
  EXPECT_EQ(job.error().reason(), v1::JOB_ERROR_REASON_INVALID_MODEL);
  EXPECT_EQ(job.error().message(), "node conv1: NaN");
  EXPECT_EQ(job.attempt_count(), 1);
}

TEST_F(JobLifecycle, APoisonJobStopsAtMaxAttemptsWhileOthersFinish) {
  const std::string poison = Submit();
  std::vector<std::string> others;
  for (int i = 0; i < 4; ++i) others.push_back(Submit());
  for (int round = 0; round < 20; ++round) {
    AdvanceAndTick(absl::Seconds(10));
    const v1::SynchronizeResponse response = Sync("w1");
    for (const v1::Attempt& attempt : response.start()) {
      ASSERT_TRUE(Complete(attempt.job() == poison
                               ? Failure(attempt, v1::JOB_ERROR_REASON_WORKER_CRASHED, true)
                               : Success(attempt))
                      .ok());
    }
  }
  EXPECT_EQ(Get(poison).state(), v1::JOB_STATE_FAILED);
  EXPECT_EQ(Get(poison).attempt_count(), 3);
  EXPECT_EQ(observer_.Of("exit WORKER_CRASHED"), 2);  // the last one is told as ATTEMPTS_EXHAUSTED
  for (const std::string& other : others) EXPECT_EQ(Get(other).state(), v1::JOB_STATE_SUCCEEDED);
}

TEST_F(JobLifecycle, AnInterruptedAttemptIsNotCountedAndRunsAgainAtOnce) {
  const std::string name = Submit();
  for (int i = 0; i < 5; ++i) {  // more often than max_attempts
    v1::CompleteAttemptRequest request = Completion(Lease());
    request.mutable_interrupted();
    ASSERT_TRUE(Complete(request).ok());
    EXPECT_EQ(Get(name).state(), v1::JOB_STATE_PENDING);
    EXPECT_EQ(Get(name).attempt_count(), 0);
    EXPECT_FALSE(Get(name).has_error());
  }
  EXPECT_EQ(Lease().attempt_number(), 6);
}

TEST_F(JobLifecycle, CancellingAPendingJobIsImmediate) {
  const std::string name = Submit();
  EXPECT_EQ(jobs_->CancelJob(name)->state(), v1::JOB_STATE_CANCELLED);
  EXPECT_EQ(Sync("w1").start_size(), 0);
  // Again, and on other ended jobs, it changes nothing.
  const v1::Job before = Get(name);
  EXPECT_EQ(jobs_->CancelJob(name)->SerializeAsString(), before.SerializeAsString());
  EXPECT_EQ(ReasonOf(jobs_->CancelJob("jobs/none").status()), "JOB_NOT_FOUND");
}

TEST_F(JobLifecycle, CancellingARunningJobTellsTheWorkerAndEndsWithItsAnswer) {
  const std::string name = Submit();
  const v1::Attempt attempt = Lease();
  EXPECT_EQ(jobs_->CancelJob(name)->state(), v1::JOB_STATE_CANCELLING);
  const auto response = Sync("w1", {{name, attempt.lease_token()}});
  ASSERT_EQ(response.stop_size(), 1);
  EXPECT_EQ(response.stop(0).job(), name);
  // It is not told again at once, so that its calls do not spin while the child dies; but later, in
  // case the answer was lost.
  EXPECT_EQ(Sync("w1", {{name, attempt.lease_token()}}).stop_size(), 0);
  clock_.Advance(absl::Seconds(3));
  EXPECT_EQ(Sync("w1", {{name, attempt.lease_token()}}).stop_size(), 1);
  v1::CompleteAttemptRequest cancelled = Completion(attempt);
  cancelled.mutable_cancelled();
  ASSERT_TRUE(Complete(cancelled).ok());
  EXPECT_EQ(Get(name).state(), v1::JOB_STATE_CANCELLED);
  EXPECT_FALSE(Get(name).has_error());
  EXPECT_EQ(observer_.Of("completed fp16 cancelled "), 1);
}

TEST_F(JobLifecycle, ASuccessThatComesAfterTheCancellationIsThrownAway) {
  const std::string name = Submit();
  const v1::Attempt attempt = Lease();
  ASSERT_TRUE(jobs_->CancelJob(name).ok());
  ASSERT_TRUE(Complete(Success(attempt)).ok());
  EXPECT_EQ(Get(name).state(), v1::JOB_STATE_CANCELLED);
  EXPECT_FALSE(Get(name).has_result());
  EXPECT_EQ(library_->ListModels(10, "")->models_size(), 1);
  EXPECT_FALSE(*jobs_->IsReferenced("result"));
}

TEST_F(JobLifecycle, ACancelledJobOfADeadWorkerEndsWithItsLease) {
  const std::string name = Submit();
  Lease();
  ASSERT_TRUE(jobs_->CancelJob(name).ok());
  AdvanceAndTick(absl::Seconds(16));
  EXPECT_EQ(Get(name).state(), v1::JOB_STATE_CANCELLED);
}

TEST_F(JobLifecycle, AWorkerThatStopsUntoldCostsAnAttempt) {
  const std::string name = Submit();
  v1::CompleteAttemptRequest cancelled = Completion(Lease());
  cancelled.mutable_cancelled();
  ASSERT_TRUE(Complete(cancelled).ok());
  EXPECT_EQ(Get(name).state(), v1::JOB_STATE_PENDING);
  EXPECT_EQ(Get(name).attempt_count(), 1);
  EXPECT_EQ(Get(name).error().reason(), v1::JOB_ERROR_REASON_INTERNAL);
}

TEST_F(JobLifecycle, PendingDeadlineCountsAllWaitsTogetherAndNoRunTime) {
  CreateJobArgs args = Args(MakeModelNamed());
  args.job.mutable_max_pending_duration()->set_seconds(100);
  const std::string name = Submit(args);
  clock_.Advance(absl::Seconds(60));
  const v1::Attempt attempt = Lease();
  // A long run takes nothing of it.
  for (int i = 0; i < 100; ++i) {
    AdvanceAndTick(absl::Seconds(10));
    Sync("w1", {{name, attempt.lease_token()}});
  }
  ASSERT_EQ(Get(name).state(), v1::JOB_STATE_RUNNING);
  ASSERT_TRUE(Complete(Failure(attempt, v1::JOB_ERROR_REASON_WORKER_CRASHED, true)).ok());
  AdvanceAndTick(absl::Seconds(39));
  EXPECT_EQ(Get(name).state(), v1::JOB_STATE_PENDING);
  AdvanceAndTick(absl::Seconds(1));
  EXPECT_EQ(Get(name).state(), v1::JOB_STATE_FAILED);
  EXPECT_EQ(Get(name).error().reason(), v1::JOB_ERROR_REASON_PENDING_DEADLINE);
  EXPECT_EQ(Sync("w1").start_size(), 0);
}

TEST_F(JobLifecycle, PendingDeadlineHoldsAcrossARestart) {
  CreateJobArgs args = Args(MakeModelNamed());
  args.job.mutable_max_pending_duration()->set_seconds(100);
  const std::string name = Submit(args);
  clock_.Advance(absl::Seconds(101));
  Restart();
  jobs_->Tick();
  EXPECT_EQ(Get(name).error().reason(), v1::JOB_ERROR_REASON_PENDING_DEADLINE);
}

TEST_F(JobLifecycle, ARunDeadlineThatTheWorkerMissesIsEnforcedAlsoWhileCancelling) {
  CreateJobArgs args = Args(MakeModelNamed());
  args.job.mutable_max_run_duration()->set_seconds(100);
  const std::string running = Submit(args);
  const v1::Attempt first = Lease("w1");
  EXPECT_EQ(first.max_run_duration().seconds(), 100);
  CreateJobArgs other = Args(MakeModelNamed());
  other.job.mutable_max_run_duration()->set_seconds(100);
  const std::string cancelling = Submit(other);
  const v1::Attempt second = Lease("w2");
  ASSERT_TRUE(jobs_->CancelJob(cancelling).ok());
  const auto run_for = [&](absl::Duration duration) {
    for (absl::Duration t; t < duration; t += absl::Seconds(10)) {
      AdvanceAndTick(absl::Seconds(10));
      Sync("w1", {{running, first.lease_token()}});
      Sync("w2", {{cancelling, second.lease_token()}});
    }
  };
  run_for(absl::Seconds(150));  // its own worker has a grace of 60 s to report it
  EXPECT_EQ(Get(running).state(), v1::JOB_STATE_RUNNING);
  run_for(absl::Seconds(20));
  EXPECT_EQ(Get(running).state(), v1::JOB_STATE_FAILED);
  EXPECT_EQ(Get(running).error().reason(), v1::JOB_ERROR_REASON_RUN_DEADLINE);
  EXPECT_EQ(Get(cancelling).state(), v1::JOB_STATE_CANCELLED);
  // The worker that still runs it is told to stop.
  clock_.Advance(absl::Seconds(3));
  EXPECT_EQ(Sync("w1", {{running, first.lease_token()}}).stop_size(), 1);
}

TEST_F(JobLifecycle, ARestartKeepsTheQueueAndRunningAttemptsComeBackWithTheirTokens) {
  std::vector<std::string> pending;
  const std::string finishing = Submit();
  const v1::Attempt first = Lease("w1");
  const std::string silent = Submit();
  Lease("w2");
  const std::string cancelling = Submit();
  const v1::Attempt third = Lease("w3");
  ASSERT_TRUE(jobs_->CancelJob(cancelling).ok());
  for (int i = 0; i < 5; ++i) pending.push_back(Submit());
  clock_.Advance(absl::Minutes(10));  // the server was away for longer than a lease
  Restart();
  jobs_->Tick();
  EXPECT_EQ(Get(finishing).state(), v1::JOB_STATE_RUNNING);
  clock_.Advance(absl::Seconds(10));
  const auto told = Sync("w3", {{cancelling, third.lease_token()}});
  ASSERT_EQ(told.stop_size(), 1);
  EXPECT_EQ(told.start_size(), 0) << "its slot is still taken";
  ASSERT_TRUE(Complete(Success(first, "w1")).ok());
  AdvanceAndTick(absl::Seconds(6));
  EXPECT_EQ(Get(silent).state(), v1::JOB_STATE_PENDING);
  EXPECT_EQ(Get(silent).error().reason(), v1::JOB_ERROR_REASON_LEASE_LOST);
  AdvanceAndTick(absl::Seconds(10));  // backoff
  for (int i = 0; i < 6; ++i) ASSERT_TRUE(Complete(Success(Lease("w4"), "w4")).ok());
  for (const std::string& name : pending) EXPECT_EQ(Get(name).state(), v1::JOB_STATE_SUCCEEDED);
  EXPECT_EQ(Get(silent).state(), v1::JOB_STATE_SUCCEEDED);
  EXPECT_EQ(Get(finishing).state(), v1::JOB_STATE_SUCCEEDED);
}

}  // namespace
}  // namespace lathe::server
