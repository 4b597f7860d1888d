// Leases, fencing, retries, cancellation, deadlines, drain, recovery: on a clock that the test
// holds.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "tests/unit/server/jobs/job_test_util.h"

namespace lathe::server {
namespace {

using ::testing::AllOf;
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

TEST_F(JobLifecycle, SlotsBoundWhatAWorkerGets) {
  for (int i = 0; i < 5; ++i) Submit();
  const auto first = Sync("w1", {}, 2);
  EXPECT_EQ(first.start_size(), 2);
  EXPECT_EQ(Sync("w1", {}, 2).start_size(), 0);
  ASSERT_TRUE(Complete(Success(first.start(0))).ok());
  EXPECT_EQ(Sync("w1", {}, 2).start_size(), 1);
  EXPECT_EQ(Sync("w2", {}, 8).start_size(), 2);
}

TEST_F(JobLifecycle, ASilentWorkerLosesItsJobAndAReportingOneKeepsIt) {
  const std::string lost = Submit();
  const v1::Attempt first = Lease("w1");
  const std::string kept = Submit();
  const v1::Attempt second = Lease("w2");
  for (int i = 0; i < 3; ++i) {
    AdvanceAndTick(absl::Seconds(7));
    Sync("w2", {{kept, second.lease_token()}});
  }
  EXPECT_EQ(Get(kept).state(), v1::JOB_STATE_RUNNING);
  const v1::Job job = Get(lost);
  EXPECT_EQ(job.state(), v1::JOB_STATE_PENDING);
  EXPECT_EQ(job.error().reason(), v1::JOB_ERROR_REASON_LEASE_LOST);
  EXPECT_TRUE(job.error().will_retry());
  EXPECT_TRUE(job.has_next_attempt_time());
  EXPECT_EQ(observer_.Of("lease expired"), 1);
  EXPECT_EQ(observer_.Of("retried LEASE_LOST"), 1);
  EXPECT_EQ(jobs_->Stats()->workers[v1::WORKER_STATE_LOST], 1);
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

TEST_F(JobLifecycle, ADrainingWorkerAndADrainingServerGiveNothingNew) {
  Submit();
  EXPECT_EQ(Sync("w1", {}, 4, /*draining=*/true).start_size(), 0);
  EXPECT_EQ(jobs_->ListWorkers().workers(0).state(), v1::WORKER_STATE_DRAINING);
  const v1::Attempt running = Lease("w2");
  Submit();
  jobs_->StopLeasing();
  EXPECT_EQ(Sync("w1", {}, 4).start_size(), 0);
  EXPECT_TRUE(Complete(Success(running, "w2")).ok());  // what runs may end
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

TEST_F(JobLifecycle, AKnownDeathEndsTheLeaseAtOnce) {
  const std::string name = Submit();
  Lease("w1");
  jobs_->WorkerDied("w1", "signal 9 (Killed)");
  jobs_->Tick();
  const v1::Job job = Get(name);
  EXPECT_EQ(job.state(), v1::JOB_STATE_PENDING);
  EXPECT_EQ(job.error().reason(), v1::JOB_ERROR_REASON_WORKER_CRASHED);
  EXPECT_THAT(job.error().message(), AllOf(HasSubstr("workers/w1"), HasSubstr("signal 9")));
}

TEST_F(JobLifecycle, ADeadWorkersLastWordsNeitherRenewItsLeaseNorBringItAJob) {
  const std::string name = Submit();
  const v1::Attempt attempt = Lease("w1");
  jobs_->WorkerDied("w1", "exit code 1");
  // A call of its own that was still on the way.
  Sync("w1", {{name, attempt.lease_token()}});
  jobs_->Tick();
  EXPECT_EQ(Get(name).state(), v1::JOB_STATE_PENDING);
  AdvanceAndTick(absl::Minutes(10));
  EXPECT_EQ(Sync("w1").start_size(), 0);
  EXPECT_EQ(Lease("w2").job(), name);
  for (const v1::Worker& worker : jobs_->ListWorkers().workers()) {
    EXPECT_EQ(worker.state(),
              worker.name() == "workers/w1" ? v1::WORKER_STATE_LOST : v1::WORKER_STATE_READY);
  }
}

TEST_F(JobLifecycle, TenantsShareSlotsFairly) {
  CreateJobArgs a = Args(MakeModelNamed());
  a.tenant = "A";
  options_.use_result_cache = false;
  Restart();
  for (int i = 0; i < 100; ++i) Submit(a);
  EXPECT_EQ(Sync("w1").start_size(), 1);
  CreateJobArgs b = Args(MakeModelNamed());
  b.tenant = "B";
  const std::string name = Submit(b);
  EXPECT_EQ(Lease("w2").job(), name);
  // The same after a restart: who owns a job is stored.
  const std::string again = Submit(b);
  Restart();
  EXPECT_EQ(Sync("w3").start_size(), 1);
  EXPECT_EQ(Lease("w4").job(), again);
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

TEST_F(JobLifecycle, TokensAreNeverReusedAfterARestart) {
  Submit();
  const int64_t before = Lease().lease_token();
  Restart();
  Submit();
  EXPECT_GT(Lease("w9").lease_token(), before);
}

TEST_F(JobLifecycle, ADisconnectedWorkerTakesNoJobWithIt) {
  const std::string name = Submit();
  v1::SynchronizeRequest request;
  request.set_worker_id("gone");
  request.set_slots(1);
  WaitOptions wait;
  wait.cancelled = [] { return true; };
  EXPECT_EQ(jobs_->Synchronize(request, wait).status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(Lease("w1").job(), name);
}

TEST_F(JobLifecycle, BadWorkersAreRefused) {
  const auto refused = [&](const std::string& id, int slots) {
    v1::SynchronizeRequest request;
    request.set_worker_id(id);
    request.set_slots(slots);
    const absl::Status status = jobs_->Synchronize(request, {}).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << id;
    return FieldOf(status);
  };
  EXPECT_EQ(refused("", 1), "worker_id");
  EXPECT_EQ(refused(std::string(64, 'a'), 1), "worker_id");
  EXPECT_EQ(refused("Upper", 1), "worker_id");
  EXPECT_EQ(refused("a/b", 1), "worker_id");
  EXPECT_EQ(refused("w", 0), "slots");
  EXPECT_EQ(refused("w", 257), "slots");
}

TEST_F(JobLifecycle, AStorageFaultWhileLeasingKeepsTheJobInTheQueue) {
  // A store that fails once in between: the job must still be there for the next call.
  class Flaky : public Store {
   public:
    explicit Flaky(Store* store) : store_(store) {}
    absl::Status Write(const std::function<absl::Status(WriteTransaction&)>& work) override {
      if (full.load()) return WithReason(absl::ResourceExhaustedError("full"), "STORAGE_FULL");
      return store_->Write(work);
    }
    absl::Status Read(const std::function<absl::Status(ReadTransaction&)>& work) override {
      return store_->Read(work);
    }
    std::atomic<bool> full{false};

   private:
    Store* const store_;
  };
  Flaky flaky(store_.get());
  jobs_.reset();
  jobs_ = *JobService::Create(options_, &flaky, &blobs_, &clock_, &ids_, &random_, &observer_);
  const std::string name = Submit();
  const std::string running = Submit();
  flaky.full = true;
  v1::SynchronizeRequest request;
  request.set_worker_id("w1");
  request.set_slots(1);
  EXPECT_EQ(ReasonOf(jobs_->Synchronize(request, {}).status()), "STORAGE_FULL");
  EXPECT_EQ(ReasonOf(jobs_->CreateJob(Args(MakeModelNamed())).status()), "STORAGE_FULL");
  flaky.full = false;
  const v1::Attempt attempt = Lease();
  EXPECT_EQ(attempt.job(), name);
  // An expiry that cannot be written is not forgotten, and a lease that can be renewed meanwhile is
  // kept.
  flaky.full = true;
  AdvanceAndTick(absl::Seconds(16));
  EXPECT_EQ(Get(name).state(), v1::JOB_STATE_RUNNING);
  flaky.full = false;
  jobs_->Tick();
  EXPECT_EQ(Get(name).state(), v1::JOB_STATE_PENDING);
  EXPECT_EQ(Lease().job(), running);
  jobs_.reset();
}

}  // namespace
}  // namespace lathe::server
