#include "server/jobs/job_service.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <atomic>
#include <filesystem>
#include <set>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "server/store/sqlite_store.h"
#include "server/store/status_reason.h"

namespace lathe::server {
namespace {

using ::testing::HasSubstr;

class FakeClock : public Clock {
 public:
  absl::Time Now() const override {
    absl::MutexLock lock(&mutex_);
    return now_;
  }
  void Advance(absl::Duration by) {
    absl::MutexLock lock(&mutex_);
    now_ += by;
  }

 private:
  mutable absl::Mutex mutex_;
  absl::Time now_ ABSL_GUARDED_BY(mutex_) = absl::FromUnixSeconds(1'700'000'000);
};

class CountingIds : public IdGenerator {
 public:
  std::string NewId() override { return absl::StrCat("id", ++next_); }

 private:
  std::atomic<int> next_{0};
};

class FixedRandom : public RandomSource {
 public:
  double Uniform() override { return 0.5; }  // no jitter
};

// Every blob is stored, but those in `missing`.
class Blobs : public BlobSizes {
 public:
  absl::StatusOr<int64_t> BlobSize(const std::string& digest) override {
    if (missing.count(digest) != 0) return absl::NotFoundError(digest);
    return 100;
  }
  std::set<std::string> missing;
};

class CountingObserver : public JobObserver {
 public:
  void LeaseExpired() override { ++leases_expired; }
  void StaleCompletion() override { ++stale; }
  void CacheLookup(bool hit) override { ++(hit ? hits : misses); }
  std::atomic<int> leases_expired{0}, stale{0}, hits{0}, misses{0};
};

class JobServiceTest : public ::testing::Test {
 protected:
  JobServiceTest() {
    std::string pattern = ::testing::TempDir() + "/jobs_XXXXXX";
    folder_ = mkdtemp(pattern.data());
    Start();
    library_ = std::make_unique<Library>(store_.get(), &blobs_, &clock_, &ids_);
    v1::Model model;
    v1::ModelFile* file = model.add_files();
    file->set_path("m.onnx");
    file->set_digest(std::string(64, 'a'));
    model_ = library_->CreateModel(model, "")->name();
  }
  ~JobServiceTest() override {
    service_.reset();
    store_.reset();
    std::filesystem::remove_all(folder_);
  }

  void Start() {
    service_.reset();
    store_.reset();
    SqliteStoreOptions store_options;
    store_options.path = folder_ + "/jobs.db";
    store_ = *SqliteStore::Open(store_options, &clock_);
    JobServiceOptions options;
    options.lease_duration = absl::Seconds(10);
    options.backoff.initial = absl::Seconds(1);
    options.build_id = "build";
    service_ =
        *JobService::Create(options, store_.get(), &blobs_, &clock_, &ids_, &random_, &observer_);
  }

  CreateJobArgs Args(const std::string& recipe = "{\"seed\":0}",
                     const std::string& request_id = "") {
    CreateJobArgs args;
    args.job.set_model(model_);
    args.recipe_json = recipe;
    args.request_id = request_id;
    return args;
  }
  std::string Create(const std::string& recipe = "{\"seed\":0}") {
    return service_->CreateJob(Args(recipe))->name();
  }

  // One Synchronize that does not wait.
  v1::SynchronizeResponse Sync(const std::string& worker,
                               const std::vector<v1::Attempt>& running = {},
                               bool draining = false) {
    v1::SynchronizeRequest request;
    request.set_worker_id(worker);
    request.set_slots(1);
    request.set_draining(draining);
    for (const v1::Attempt& attempt : running) {
      request.add_running()->set_job(attempt.job());
      request.mutable_running(request.running_size() - 1)->set_lease_token(attempt.lease_token());
    }
    auto response = service_->Synchronize(request, {});
    EXPECT_TRUE(response.ok()) << response.status();
    return response.ok() ? *response : v1::SynchronizeResponse();
  }
  v1::Attempt Take(const std::string& worker) {
    const v1::SynchronizeResponse response = Sync(worker);
    EXPECT_EQ(response.start_size(), 1);
    return response.start_size() == 1 ? response.start(0) : v1::Attempt();
  }
  absl::Status Succeed(const v1::Attempt& attempt) {
    v1::CompleteAttemptRequest request;
    request.set_job(attempt.job());
    request.set_lease_token(attempt.lease_token());
    request.set_build_id("build");
    v1::ModelFile* file = request.mutable_success()->add_files();
    file->set_path("m.onnx");
    file->set_digest(std::string(64, 'b'));
    request.mutable_success()->set_main_file("m.onnx");
    request.mutable_success()->set_report_digest(std::string(64, 'c'));
    return service_->CompleteAttempt(request).status();
  }
  absl::Status Fail(const v1::Attempt& attempt, bool transient) {
    v1::CompleteAttemptRequest request;
    request.set_job(attempt.job());
    request.set_lease_token(attempt.lease_token());
    request.mutable_failure()->set_reason(v1::JOB_ERROR_REASON_WORKER_CRASHED);
    request.mutable_failure()->set_message("SIGSEGV");
    request.mutable_failure()->set_transient(transient);
    return service_->CompleteAttempt(request).status();
  }
  v1::JobState State(const std::string& job) { return service_->GetJob(job)->state(); }

  std::string folder_;
  FakeClock clock_;
  CountingIds ids_;
  FixedRandom random_;
  Blobs blobs_;
  CountingObserver observer_;
  std::unique_ptr<SqliteStore> store_;
  std::unique_ptr<JobService> service_;
  std::unique_ptr<Library> library_;
  std::string model_;
};

TEST_F(JobServiceTest, AJobRunsAndItsResultIsAModel) {
  const std::string job = Create();
  const v1::Attempt attempt = Take("w1");
  EXPECT_EQ(attempt.job(), job);
  EXPECT_EQ(attempt.files(0).path(), "m.onnx");
  EXPECT_EQ(State(job), v1::JOB_STATE_RUNNING);
  ASSERT_TRUE(Succeed(attempt).ok());
  const v1::Job done = *service_->GetJob(job);
  EXPECT_EQ(done.state(), v1::JOB_STATE_SUCCEEDED);
  EXPECT_EQ(library_->GetModel(done.result().model())->source_job(), job);
  EXPECT_TRUE(Succeed(attempt).ok());  // said twice: the answer was lost
  EXPECT_EQ(library_->ListModels(10, "")->models_size(), 2);
}

TEST_F(JobServiceTest, SixtyFourDuplicatesMakeOneJob) {
  std::vector<std::string> names(64);
  std::vector<std::thread> threads;
  for (int i = 0; i < 64; ++i) {
    threads.emplace_back(
        [&, i] { names[i] = service_->CreateJob(Args("{\"seed\":0}", "same"))->name(); });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(std::set<std::string>(names.begin(), names.end()).size(), 1u);
  EXPECT_EQ(service_->ListJobs({})->jobs_size(), 1);
  CreateJobArgs other = Args("{\"seed\":0}", "same");
  other.job.set_priority(3);
  EXPECT_EQ(ReasonOf(service_->CreateJob(other).status()), "REQUEST_ID_REUSED");
}

TEST_F(JobServiceTest, ALateCompletionIsRefusedAndChangesNothing) {
  const std::string job = Create();
  const v1::Attempt late = Take("w1");
  clock_.Advance(absl::Seconds(11));
  service_->Tick();
  EXPECT_EQ(State(job), v1::JOB_STATE_PENDING);
  EXPECT_EQ(observer_.leases_expired, 1);
  clock_.Advance(absl::Seconds(60));
  service_->Tick();
  const v1::Attempt second = Take("w2");
  EXPECT_GT(second.lease_token(), late.lease_token());
  const absl::Status refused = Succeed(late);
  EXPECT_EQ(refused.code(), absl::StatusCode::kAborted);
  EXPECT_EQ(ReasonOf(refused), "STALE_LEASE");
  EXPECT_EQ(observer_.stale, 1);
  EXPECT_EQ(State(job), v1::JOB_STATE_RUNNING);
  // The first worker hears that the attempt is not its own.
  EXPECT_EQ(Sync("w1", {late}).stop_size(), 1);
  EXPECT_TRUE(Succeed(second).ok());
}

TEST_F(JobServiceTest, ALeaseIsKeptAliveBySynchronize) {
  Create();
  const v1::Attempt attempt = Take("w1");
  for (int i = 0; i < 5; ++i) {
    clock_.Advance(absl::Seconds(8));
    Sync("w1", {attempt});
    service_->Tick();
  }
  EXPECT_TRUE(Succeed(attempt).ok());
}

TEST_F(JobServiceTest, TransientFailuresWaitLongerEachTimeAndEndAtMaxAttempts) {
  const std::string job = Create();
  for (int attempt = 1; attempt <= 3; ++attempt) {
    ASSERT_TRUE(Fail(Take("w1"), /*transient=*/true).ok());
    if (attempt == 3) break;
    EXPECT_EQ(State(job), v1::JOB_STATE_PENDING);
    EXPECT_TRUE(service_->GetJob(job)->error().will_retry());
    const absl::Duration wait = absl::Seconds(1 << (attempt - 1));
    clock_.Advance(wait - absl::Milliseconds(10));
    service_->Tick();
    EXPECT_EQ(Sync("w1").start_size(), 0) << attempt;
    clock_.Advance(absl::Milliseconds(20));
    service_->Tick();
  }
  const v1::Job failed = *service_->GetJob(job);
  EXPECT_EQ(failed.state(), v1::JOB_STATE_FAILED);
  EXPECT_EQ(failed.error().reason(), v1::JOB_ERROR_REASON_ATTEMPTS_EXHAUSTED);
  EXPECT_THAT(failed.error().message(), HasSubstr("SIGSEGV"));
}

TEST_F(JobServiceTest, APermanentFailureIsTheEnd) {
  const std::string job = Create();
  ASSERT_TRUE(Fail(Take("w1"), /*transient=*/false).ok());
  EXPECT_EQ(State(job), v1::JOB_STATE_FAILED);
  EXPECT_EQ(service_->GetJob(job)->attempt_count(), 1);
}

TEST_F(JobServiceTest, CancelOfAPendingAndOfARunningJob) {
  const std::string running = Create();
  const v1::Attempt attempt = Take("w1");
  const std::string pending = Create("{\"seed\":1}");
  EXPECT_EQ(service_->CancelJob(pending)->state(), v1::JOB_STATE_CANCELLED);
  EXPECT_EQ(service_->CancelJob(running)->state(), v1::JOB_STATE_CANCELLING);
  ASSERT_EQ(Sync("w1", {attempt}).stop_size(), 1);
  v1::CompleteAttemptRequest stopped;
  stopped.set_job(attempt.job());
  stopped.set_lease_token(attempt.lease_token());
  stopped.mutable_cancelled();
  ASSERT_TRUE(service_->CompleteAttempt(stopped).ok());
  EXPECT_EQ(State(running), v1::JOB_STATE_CANCELLED);
  EXPECT_EQ(service_->CancelJob(running)->state(), v1::JOB_STATE_CANCELLED);
}

TEST_F(JobServiceTest, AResultThatArrivesAfterCancellationIsThrownAway) {
  const std::string job = Create();
  const v1::Attempt attempt = Take("w1");
  ASSERT_TRUE(service_->CancelJob(job).ok());
  Succeed(attempt).IgnoreError();
  EXPECT_EQ(State(job), v1::JOB_STATE_CANCELLED);
  EXPECT_EQ(library_->ListModels(10, "")->models_size(), 1);
}

TEST_F(JobServiceTest, ADrainedAttemptDoesNotCountAndADrainingWorkerGetsNothing) {
  const std::string job = Create();
  const v1::Attempt attempt = Take("w1");
  v1::CompleteAttemptRequest interrupted;
  interrupted.set_job(attempt.job());
  interrupted.set_lease_token(attempt.lease_token());
  interrupted.mutable_interrupted();
  ASSERT_TRUE(service_->CompleteAttempt(interrupted).ok());
  EXPECT_EQ(State(job), v1::JOB_STATE_PENDING);
  EXPECT_EQ(service_->GetJob(job)->attempt_count(), 0);
  EXPECT_EQ(Sync("w1", {}, /*draining=*/true).start_size(), 0);
  EXPECT_EQ(Sync("w2").start_size(), 1);
}

TEST_F(JobServiceTest, ARestartKeepsPendingJobsAndRunningLeases) {
  const std::string running = Create();
  const v1::Attempt attempt = Take("w1");
  const std::string pending = Create("{\"seed\":1}");
  Start();
  EXPECT_EQ(State(running), v1::JOB_STATE_RUNNING);
  Sync("w1", {attempt});  // the worker comes back with its token
  EXPECT_TRUE(Succeed(attempt).ok());
  EXPECT_EQ(Take("w2").job(), pending);
  // And a worker that does not come back loses its lease, with a newer token for the next.
  Start();
  clock_.Advance(absl::Seconds(11));
  service_->Tick();
  EXPECT_EQ(State(pending), v1::JOB_STATE_PENDING);
}

TEST_F(JobServiceTest, ASuccessWithoutItsBlobsIsRefused) {
  Create();
  const v1::Attempt attempt = Take("w1");
  blobs_.missing.insert(std::string(64, 'b'));
  EXPECT_EQ(ReasonOf(Succeed(attempt)), "BLOB_MISSING");
  blobs_.missing.clear();
  EXPECT_TRUE(Succeed(attempt).ok());
}

TEST_F(JobServiceTest, TheResultCacheHitsOnTheSameInputsAloneAndMissesOtherwise) {
  Create();
  ASSERT_TRUE(Succeed(Take("w1")).ok());
  const v1::Job again = *service_->CreateJob(Args());
  EXPECT_EQ(again.state(), v1::JOB_STATE_SUCCEEDED);
  EXPECT_TRUE(again.result().from_cache());
  EXPECT_EQ(observer_.hits, 1);
  CreateJobArgs bound = Args();
  (*bound.job.mutable_bindings())["n"] = 2;
  EXPECT_EQ(service_->CreateJob(bound)->state(), v1::JOB_STATE_PENDING);
  EXPECT_EQ(service_->CreateJob(Args("{\"seed\":1}"))->state(), v1::JOB_STATE_PENDING);
  blobs_.missing.insert(std::string(64, 'b'));  // collected since
  EXPECT_EQ(service_->CreateJob(Args())->state(), v1::JOB_STATE_PENDING);
}

TEST_F(JobServiceTest, HigherPriorityRunsFirst) {
  Create("{\"seed\":1}");
  CreateJobArgs urgent = Args("{\"seed\":2}");
  urgent.job.set_priority(5);
  const std::string name = service_->CreateJob(urgent)->name();
  EXPECT_EQ(Take("w1").job(), name);
}

TEST_F(JobServiceTest, AJobThatWaitsTooLongFailsAndWaitingCostsNoRunTime) {
  CreateJobArgs args = Args();
  args.job.mutable_max_pending_duration()->set_seconds(30);
  const std::string job = service_->CreateJob(args)->name();
  clock_.Advance(absl::Seconds(29));
  service_->Tick();
  EXPECT_EQ(State(job), v1::JOB_STATE_PENDING);
  clock_.Advance(absl::Seconds(2));
  service_->Tick();
  EXPECT_EQ(State(job), v1::JOB_STATE_FAILED);
  EXPECT_EQ(service_->GetJob(job)->error().reason(), v1::JOB_ERROR_REASON_PENDING_DEADLINE);
}

TEST_F(JobServiceTest, WaitersWakeWhenTheJobEnds) {
  const std::string job = Create();
  v1::JobState seen = v1::JOB_STATE_UNSPECIFIED;
  std::thread waiter([&] { seen = service_->WaitJob(job, {absl::Seconds(60), nullptr})->state(); });
  ASSERT_TRUE(Succeed(Take("w1")).ok());
  waiter.join();
  EXPECT_EQ(seen, v1::JOB_STATE_SUCCEEDED);
  const EventBatch events = *service_->NextEvents(job, 0, {});
  EXPECT_TRUE(events.ended);
  ASSERT_GE(events.events.size(), 3u);
  for (size_t i = 1; i < events.events.size(); ++i) {
    EXPECT_GT(events.events[i].sequence(), events.events[i - 1].sequence());
  }
}

TEST_F(JobServiceTest, AMissingModelIsNamed) {
  CreateJobArgs args = Args();
  args.job.set_model("models/none");
  const absl::Status status = service_->CreateJob(args).status();
  EXPECT_EQ(ReasonOf(status), "MODEL_NOT_FOUND");
  EXPECT_EQ(FieldOf(status), "job.model");
}

TEST_F(JobServiceTest, JobsThatAreMissingOrUnfinishedAreNotDeletedOrRetried) {
  EXPECT_EQ(service_->GetJob("jobs/none").status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ReasonOf(service_->DeleteJob("jobs/none")), "JOB_NOT_FOUND");
  const std::string job = Create();
  EXPECT_EQ(ReasonOf(service_->DeleteJob(job)), "JOB_NOT_ENDED");
  EXPECT_EQ(ReasonOf(service_->RetryJob(job, "").status()), "JOB_NOT_ENDED");
}

}  // namespace
}  // namespace lathe::server
