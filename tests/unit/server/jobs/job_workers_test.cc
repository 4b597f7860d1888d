// What workers do and have done to them: slots, leases, draining, death, tokens; on a clock that
// the test holds.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/server/jobs/job_test_util.h"

namespace lathe::server {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class JobWorkers : public JobServiceFixture {};

TEST_F(JobWorkers, SlotsBoundWhatAWorkerGets) {
  for (int i = 0; i < 5; ++i) Submit();
  const auto first = Sync("w1", {}, 2);
  EXPECT_EQ(first.start_size(), 2);
  EXPECT_EQ(Sync("w1", {}, 2).start_size(), 0);
  ASSERT_TRUE(Complete(Success(first.start(0))).ok());
  EXPECT_EQ(Sync("w1", {}, 2).start_size(), 1);
  EXPECT_EQ(Sync("w2", {}, 8).start_size(), 2);
}

TEST_F(JobWorkers, ASilentWorkerLosesItsJobAndAReportingOneKeepsIt) {
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

TEST_F(JobWorkers, ADrainingWorkerAndADrainingServerGiveNothingNew) {
  Submit();
  EXPECT_EQ(Sync("w1", {}, 4, /*draining=*/true).start_size(), 0);
  EXPECT_EQ(jobs_->ListWorkers().workers(0).state(), v1::WORKER_STATE_DRAINING);
  const v1::Attempt running = Lease("w2");
  Submit();
  jobs_->StopLeasing();
  EXPECT_EQ(Sync("w1", {}, 4).start_size(), 0);
  EXPECT_TRUE(Complete(Success(running, "w2")).ok());  // what runs may end
}

TEST_F(JobWorkers, AKnownDeathEndsTheLeaseAtOnce) {
  const std::string name = Submit();
  Lease("w1");
  jobs_->WorkerDied("w1", "signal 9 (Killed)");
  jobs_->Tick();
  const v1::Job job = Get(name);
  EXPECT_EQ(job.state(), v1::JOB_STATE_PENDING);
  EXPECT_EQ(job.error().reason(), v1::JOB_ERROR_REASON_WORKER_CRASHED);
  EXPECT_THAT(job.error().message(), AllOf(HasSubstr("workers/w1"), HasSubstr("signal 9")));
}

TEST_F(JobWorkers, ADeadWorkersLastWordsNeitherRenewItsLeaseNorBringItAJob) {
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
  const v1::ListWorkersResponse listed = jobs_->ListWorkers();
  EXPECT_EQ(listed.workers_size(), 2);
  for (const v1::Worker& worker : listed.workers()) {
    EXPECT_EQ(worker.state(),
              worker.name() == "workers/w1" ? v1::WORKER_STATE_LOST : v1::WORKER_STATE_READY);
  }
}

TEST_F(JobWorkers, WhatAWorkerMeasuresInIsListed) {
  v1::SynchronizeRequest request;
  request.set_worker_id("w1");
  request.set_slots(1);
  request.set_onnxruntime_version("1.32.0");
  ASSERT_TRUE(jobs_->Synchronize(request, {}).ok());
  EXPECT_EQ(jobs_->ListWorkers().workers(0).onnxruntime_version(), "1.32.0");
  request.set_onnxruntime_version(std::string(65, '1'));
  EXPECT_EQ(jobs_->Synchronize(request, {}).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(JobWorkers, TenantsShareSlotsFairly) {
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

TEST_F(JobWorkers, TokensAreNeverReusedAfterARestart) {
  Submit();
  const int64_t before = Lease().lease_token();
  Restart();
  Submit();
  EXPECT_GT(Lease("w9").lease_token(), before);
}

TEST_F(JobWorkers, ADisconnectedWorkerTakesNoJobWithIt) {
  const std::string name = Submit();
  v1::SynchronizeRequest request;
  request.set_worker_id("gone");
  request.set_slots(1);
  WaitOptions wait;
  wait.cancelled = [] { return true; };
  EXPECT_EQ(jobs_->Synchronize(request, wait).status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(Lease("w1").job(), name);
}

TEST_F(JobWorkers, BadWorkersAreRefused) {
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

TEST_F(JobWorkers, AStorageFaultWhileLeasingKeepsTheJobInTheQueue) {
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
