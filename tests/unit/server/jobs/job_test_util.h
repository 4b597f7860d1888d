// A job service on a real store, with a clock, ids and randomness that the test holds, and workers
// it plays itself.
#ifndef LATHE_TESTS_UNIT_SERVER_JOBS_JOB_TEST_UTIL_H_
#define LATHE_TESTS_UNIT_SERVER_JOBS_JOB_TEST_UTIL_H_

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "common/status_reason.h"
#include "server/jobs/job_service.h"
#include "server/jobs/library.h"
#include "tests/support/fake_sources.h"
#include "tests/unit/server/store/store_test_util.h"

namespace lathe::server {

// Every blob exists unless taken away.
class FakeBlobs : public BlobSizes {
 public:
  absl::StatusOr<int64_t> BlobSize(const std::string& digest) override {
    absl::MutexLock lock(&mutex_);
    if (missing_.count(digest) != 0) return absl::NotFoundError("no such blob");
    const auto size = sizes_.find(digest);
    return size == sizes_.end() ? 1000 : size->second;
  }
  void SetSize(const std::string& digest, int64_t bytes) {
    absl::MutexLock lock(&mutex_);
    sizes_[digest] = bytes;
  }
  void TakeAway(const std::string& digest) {
    absl::MutexLock lock(&mutex_);
    missing_.insert(digest);
  }
  void PutBack(const std::string& digest) {
    absl::MutexLock lock(&mutex_);
    missing_.erase(digest);
  }

 private:
  absl::Mutex mutex_;
  std::set<std::string> missing_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, int64_t> sizes_ ABSL_GUARDED_BY(mutex_);
};

// Counts what it is told, by name and label.
class CountingObserver : public JobObserver {
 public:
  void JobSubmitted() override { Count("submitted"); }
  void JobCompleted(absl::string_view method, absl::string_view outcome,
                    absl::string_view reason) override {
    Count(absl::StrCat("completed ", method, " ", outcome, " ", reason));
  }
  void AttemptRetried(absl::string_view reason) override {
    Count(absl::StrCat("retried ", reason));
  }
  void QueueDuration(absl::Duration waited) override {
    Count(absl::StrCat("queued ", absl::FormatDuration(waited)));
  }
  void RunDuration(absl::Duration ran) override {
    Count(absl::StrCat("ran ", absl::FormatDuration(ran)));
  }
  void LeaseExpired() override { Count("lease expired"); }
  void StaleCompletion() override { Count("stale"); }
  void CacheLookup(bool hit) override { Count(hit ? "hit" : "miss"); }
  void PeakRss(int64_t bytes) override { Count(absl::StrCat("rss ", bytes)); }
  void CompressionRatio(absl::string_view method, double ratio) override {
    Count(absl::StrCat("ratio ", method, " ", ratio));
  }
  void WorkerExit(absl::string_view cause) override { Count(absl::StrCat("exit ", cause)); }

  int Of(const std::string& what) {
    absl::MutexLock lock(&mutex_);
    return counts_[what];
  }

 private:
  void Count(const std::string& what) {
    absl::MutexLock lock(&mutex_);
    ++counts_[what];
  }
  absl::Mutex mutex_;
  std::map<std::string, int> counts_ ABSL_GUARDED_BY(mutex_);
};

class JobServiceFixture : public ::testing::Test {
 protected:
  JobServiceFixture() {
    options_.lease_duration = absl::Seconds(15);
    options_.build_id = "build";
    store_ = OpenOrDie(folder_.File("db"), &clock_);
    Start();
  }
  ~JobServiceFixture() override { jobs_.reset(); }

  // A new life of the server on the same data.
  void Restart() {
    jobs_.reset();
    store_.reset();
    store_ = OpenOrDie(folder_.File("db"), &clock_);
    Start();
  }
  void Start() {
    library_ = std::make_unique<Library>(store_.get(), &blobs_, &clock_, &ids_);
    auto jobs =
        JobService::Create(options_, store_.get(), &blobs_, &clock_, &ids_, &random_, &observer_);
    ASSERT_TRUE(jobs.ok()) << jobs.status();
    jobs_ = *std::move(jobs);
  }

  // A model that differs from all others unless `content` repeats.
  std::string MakeModelNamed(const std::string& content = "") {
    v1::Model model;
    v1::ModelFile* file = model.add_files();
    file->set_path("net.onnx");
    file->set_digest(absl::StrCat("digest-", content.empty() ? ids_.NewId() : content));
    const auto made = library_->CreateModel(model, "");
    EXPECT_TRUE(made.ok()) << made.status();
    return made.ok() ? made->name() : "";
  }

  static CreateJobArgs Args(const std::string& model) {
    CreateJobArgs args;
    args.job.set_model(model);
    args.job.mutable_recipe()->add_steps()->mutable_fp16();
    args.recipe_json = R"({"seed":0,"steps":[{"fp16":{}}]})";
    return args;
  }
  std::string Submit(const CreateJobArgs& args) {
    const auto job = jobs_->CreateJob(args);
    EXPECT_TRUE(job.ok()) << job.status();
    return job.ok() ? job->name() : "";
  }
  // A new job on a model of its own.
  std::string Submit() { return Submit(Args(MakeModelNamed())); }

  v1::Job Get(const std::string& name) {
    const auto job = jobs_->GetJob(name);
    EXPECT_TRUE(job.ok()) << job.status();
    return job.ok() ? *job : v1::Job();
  }

  // One Synchronize that does not wait.
  v1::SynchronizeResponse Sync(const std::string& worker,
                               const std::vector<std::pair<std::string, int64_t>>& running = {},
                               int slots = 1, bool draining = false) {
    v1::SynchronizeRequest request;
    request.set_worker_id(worker);
    request.set_slots(slots);
    request.set_draining(draining);
    for (const auto& [job, token] : running) {
      v1::RunningAttempt* attempt = request.add_running();
      attempt->set_job(job);
      attempt->set_lease_token(token);
    }
    const auto response = jobs_->Synchronize(request, {});
    EXPECT_TRUE(response.ok()) << response.status();
    return response.ok() ? *response : v1::SynchronizeResponse();
  }
  // The one attempt that a free worker gets.
  v1::Attempt Lease(const std::string& worker = "w1") {
    const v1::SynchronizeResponse response = Sync(worker);
    EXPECT_EQ(response.start_size(), 1);
    return response.start_size() == 1 ? response.start(0) : v1::Attempt();
  }

  static v1::CompleteAttemptRequest Completion(const v1::Attempt& attempt,
                                               const std::string& worker = "w1") {
    v1::CompleteAttemptRequest request;
    request.set_worker_id(worker);
    request.set_job(attempt.job());
    request.set_lease_token(attempt.lease_token());
    request.set_build_id("build");
    return request;
  }
  static v1::CompleteAttemptRequest Success(const v1::Attempt& attempt,
                                            const std::string& worker = "w1") {
    v1::CompleteAttemptRequest request = Completion(attempt, worker);
    v1::AttemptSuccess* success = request.mutable_success();
    if (attempt.kind() == v1::ATTEMPT_KIND_COMPRESS) {
      v1::ModelFile* file = success->add_files();
      file->set_path("net.onnx");
      file->set_digest("result");
      success->set_main_file("net.onnx");
      success->set_compression_ratio(4);
    }
    success->set_report_digest("report");
    success->set_report_text_digest("text");
    return request;
  }
  static v1::CompleteAttemptRequest Failure(const v1::Attempt& attempt, v1::JobErrorReason reason,
                                            bool transient, const std::string& message = "why") {
    v1::CompleteAttemptRequest request = Completion(attempt);
    request.mutable_failure()->set_reason(reason);
    request.mutable_failure()->set_message(message);
    request.mutable_failure()->set_transient(transient);
    return request;
  }
  absl::Status Complete(const v1::CompleteAttemptRequest& request) {
    return jobs_->CompleteAttempt(request).status();
  }
  void AdvanceAndTick(absl::Duration by) {
    clock_.Advance(by);
    jobs_->Tick();
  }

  TempFolder folder_;
  FakeClock clock_;
  CountingIds ids_;
  NoJitter random_;
  FakeBlobs blobs_;
  CountingObserver observer_;
  JobServiceOptions options_;
  std::unique_ptr<SqliteStore> store_;
  std::unique_ptr<Library> library_;
  std::unique_ptr<JobService> jobs_;
};

}  // namespace lathe::server

#endif  // LATHE_TESTS_UNIT_SERVER_JOBS_JOB_TEST_UTIL_H_
