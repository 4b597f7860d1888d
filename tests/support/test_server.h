// A whole server in this process: real SQLite and blobs in a folder of its own, real gRPC on a free
// loopback port. The clock is the test's, and so are the workers: they are played by calls.
#ifndef LATHE_TESTS_SUPPORT_TEST_SERVER_H_
#define LATHE_TESTS_SUPPORT_TEST_SERVER_H_

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "lathe/v1/blobs.grpc.pb.h"
#include "lathe/v1/capabilities.grpc.pb.h"
#include "lathe/v1/datasets.grpc.pb.h"
#include "lathe/v1/jobs.grpc.pb.h"
#include "lathe/v1/models.grpc.pb.h"
#include "lathe/v1/workers.grpc.pb.h"
#include "server/blobs/local_blob_store.h"
#include "server/jobs/job_service.h"
#include "server/jobs/library.h"
#include "server/rpc/rpc_server.h"
#include "server/store/sqlite_store.h"
#include "server/telemetry/metrics.h"
#include "tests/support/fake_sources.h"
#include "tests/support/temp_folder.h"

namespace lathe::server {

struct TestServerOptions {
  std::vector<std::string> tokens;
  JobServiceOptions jobs;
};

class TestServer {
 public:
  explicit TestServer(TestServerOptions options = {}) : options_(std::move(options)) {
    if (options_.jobs.build_id.empty()) options_.jobs.build_id = "build";
    SqliteStoreOptions store;
    store.path = folder_.File("lathe.db");
    store.on_commit = [this](absl::Duration took, int) { metrics_.Committed(took); };
    store_ = Must(SqliteStore::Open(store, &clock_));
    blobs_ = Must(LocalBlobStore::Create(folder_.File("blobstore")));
    jobs_ = Must(JobService::Create(options_.jobs, store_.get(), blobs_.get(), &clock_, &ids_,
                                    &random_, &metrics_));
    library_ = std::make_unique<Library>(store_.get(), blobs_.get(), &clock_, &ids_);
    Listen("127.0.0.1:0");
  }
  ~TestServer() {
    jobs_->Shutdown();
    rpc_.reset();
  }

  // The network goes away, and comes back at the same address; nothing else is lost.
  void StopListening() { rpc_.reset(); }
  void ListenAgain() { Listen(address_); }

  const std::string& address() const { return address_; }
  std::shared_ptr<grpc::Channel> NewChannel() const {
    grpc::ChannelArguments arguments;
    arguments.SetMaxReceiveMessageSize(-1);
    return grpc::CreateCustomChannel(address_, grpc::InsecureChannelCredentials(), arguments);
  }
  FakeClock& clock() { return clock_; }
  JobService& jobs() { return *jobs_; }
  LocalBlobStore& blobs() { return *blobs_; }
  RpcServer& rpc() { return *rpc_; }
  Metrics& metrics() { return metrics_; }

  // Time passes, and the server notices.
  void Advance(absl::Duration by) {
    clock_.Advance(by);
    jobs_->Tick();
  }

 private:
  template <typename T>
  static T Must(absl::StatusOr<T> value) {
    if (!value.ok()) ADD_FAILURE() << value.status();
    return *std::move(value);
  }
  void Listen(const std::string& where) {
    RpcOptions rpc;
    rpc.listen = where;
    rpc.tokens = options_.tokens;
    rpc.max_attempts = options_.jobs.max_attempts;
    rpc_ = Must(RpcServer::Start(rpc, library_.get(), jobs_.get(), blobs_.get(), &metrics_));
    address_ = rpc_->address();
  }

  TestServerOptions options_;
  lathe::testing::TempFolder folder_;
  FakeClock clock_;
  CountingIds ids_;
  NoJitter random_;
  Metrics metrics_;
  std::unique_ptr<SqliteStore> store_;
  std::unique_ptr<LocalBlobStore> blobs_;
  std::unique_ptr<JobService> jobs_;
  std::unique_ptr<Library> library_;
  std::unique_ptr<RpcServer> rpc_;
  std::string address_;
};

// What a user and a worker do with a server, in one line each. Failures of these calls fail the
// test.
class TestCalls {
 public:
  explicit TestCalls(const std::shared_ptr<grpc::Channel>& channel)
      : blobs(v1::BlobService::NewStub(channel)),
        models(v1::ModelService::NewStub(channel)),
        datasets(v1::DatasetService::NewStub(channel)),
        jobs(v1::JobService::NewStub(channel)),
        workers(v1::WorkerService::NewStub(channel)),
        capabilities(v1::CapabilityService::NewStub(channel)) {}

  // Digest of a blob that is now stored.
  std::string Put(const std::string& bytes) {
    v1::PutBlobRequest request;
    request.set_data(bytes);
    grpc::ClientContext context;
    v1::Blob blob;
    Check(blobs->PutBlob(&context, request, &blob));
    return blob.digest();
  }
  // Name of a new model of one file.
  std::string MakeModel(const std::string& bytes = "weights") {
    v1::CreateModelRequest request;
    v1::ModelFile* file = request.mutable_model()->add_files();
    file->set_path("net.onnx");
    file->set_content(bytes);
    grpc::ClientContext context;
    v1::Model model;
    Check(models->CreateModel(&context, request, &model));
    return model.name();
  }
  static v1::CreateJobRequest JobOn(const std::string& model) {
    v1::CreateJobRequest request;
    request.mutable_job()->set_model(model);
    request.mutable_job()->mutable_recipe()->add_steps()->mutable_fp16();
    return request;
  }
  // Name of a new job, by default on a model of its own.
  std::string Submit(std::string model = "") {
    if (model.empty()) model = MakeModel();
    grpc::ClientContext context;
    v1::Job job;
    Check(jobs->CreateJob(&context, JobOn(model), &job));
    return job.name();
  }
  v1::Job Get(const std::string& name) {
    v1::GetJobRequest request;
    request.set_name(name);
    grpc::ClientContext context;
    v1::Job job;
    Check(jobs->GetJob(&context, request, &job));
    return job;
  }

  // One Synchronize of a worker with one slot, which does not wait.
  v1::SynchronizeResponse Synchronize(const v1::Attempt* running = nullptr,
                                      const v1::JobProgress* progress = nullptr) {
    v1::SynchronizeRequest request;
    request.set_worker_id("w1");
    request.set_slots(1);
    if (running != nullptr) {
      v1::RunningAttempt* attempt = request.add_running();
      attempt->set_job(running->job());
      attempt->set_lease_token(running->lease_token());
      if (progress != nullptr) *attempt->mutable_progress() = *progress;
    }
    grpc::ClientContext context;
    v1::SynchronizeResponse response;
    Check(workers->Synchronize(&context, request, &response));
    return response;
  }
  // The attempt that a free worker gets.
  v1::Attempt Lease() {
    const v1::SynchronizeResponse response = Synchronize();
    if (response.start_size() != 1) ADD_FAILURE() << "no attempt: " << response.DebugString();
    return response.start_size() == 1 ? response.start(0) : v1::Attempt();
  }
  static v1::CompleteAttemptRequest Completion(const v1::Attempt& attempt) {
    v1::CompleteAttemptRequest request;
    request.set_worker_id("w1");
    request.set_job(attempt.job());
    request.set_lease_token(attempt.lease_token());
    request.set_build_id("build");
    return request;
  }
  // An attempt's success: its result, report and table are uploaded.
  v1::CompleteAttemptRequest SuccessOf(const v1::Attempt& attempt) {
    v1::CompleteAttemptRequest request = Completion(attempt);
    v1::AttemptSuccess* success = request.mutable_success();
    if (attempt.kind() == v1::ATTEMPT_KIND_COMPRESS) {
      v1::ModelFile* file = success->add_files();
      file->set_path("net.onnx");
      file->set_digest(Put("small"));
      success->set_main_file("net.onnx");
      success->set_compression_ratio(4);
    }
    success->set_report_digest(Put(R"({"seed": 7})"));
    success->set_report_text_digest(Put("a table\n"));
    request.set_peak_rss_bytes(1 << 20);
    return request;
  }
  static v1::CompleteAttemptRequest FailureOf(const v1::Attempt& attempt, v1::JobErrorReason reason,
                                              bool transient) {
    v1::CompleteAttemptRequest request = Completion(attempt);
    request.mutable_failure()->set_reason(reason);
    request.mutable_failure()->set_message("why");
    request.mutable_failure()->set_transient(transient);
    return request;
  }
  grpc::Status Complete(const v1::CompleteAttemptRequest& request) {
    grpc::ClientContext context;
    v1::CompleteAttemptResponse response;
    return workers->CompleteAttempt(&context, request, &response);
  }
  // A job taken to SUCCEEDED.
  std::string Finished(const std::string& model = "") {
    const std::string job = Submit(model);
    Check(Complete(SuccessOf(Lease())));
    return job;
  }

  const std::unique_ptr<v1::BlobService::Stub> blobs;
  const std::unique_ptr<v1::ModelService::Stub> models;
  const std::unique_ptr<v1::DatasetService::Stub> datasets;
  const std::unique_ptr<v1::JobService::Stub> jobs;
  const std::unique_ptr<v1::WorkerService::Stub> workers;
  const std::unique_ptr<v1::CapabilityService::Stub> capabilities;

 private:
  static void Check(const grpc::Status& status) {
    if (!status.ok()) ADD_FAILURE() << status.error_code() << ": " << status.error_message();
  }
};

}  // namespace lathe::server

#endif  // LATHE_TESTS_SUPPORT_TEST_SERVER_H_
