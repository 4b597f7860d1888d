// A server with faults to order, behind a real gRPC channel. What it promises is the interface's
// contract and no more; the real server is driven by the end-to-end tests.
#ifndef LATHE_TESTS_UNIT_WORKER_AGENT_FAKE_SERVER_H_
#define LATHE_TESTS_UNIT_WORKER_AGENT_FAKE_SERVER_H_

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "common/digest.h"
#include "lathe/v1/blobs.grpc.pb.h"
#include "lathe/v1/workers.grpc.pb.h"

namespace lathe::worker {

class FakeServer final : public lathe::v1::WorkerService::Service,
                         public lathe::v1::BlobService::Service {
 public:
  FakeServer() {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(static_cast<lathe::v1::WorkerService::Service*>(this));
    builder.RegisterService(static_cast<lathe::v1::BlobService::Service*>(this));
    builder.SetMaxReceiveMessageSize(64 << 20);
    server_ = builder.BuildAndStart();
  }
  ~FakeServer() override { server_->Shutdown(absl::ToChronoTime(absl::Now())); }

  std::string address() const { return absl::StrCat("127.0.0.1:", port_); }

  // --- What the test sets up ---
  struct Faults {
    grpc::Status synchronize = grpc::Status::OK;
    std::deque<grpc::Status> completions;  // answers to the first CompleteAttempt calls, in order
    std::deque<grpc::Status> checkpoints;  // likewise of SaveCheckpoint
    int64_t cut_download_after = -1;       // each stream ends with UNAVAILABLE after so many bytes
    int64_t cut_upload_after = -1;         // likewise; what arrived is committed
    bool flip_first_byte = false;          // of every download
  };
  void SetFaults(Faults faults) {
    absl::MutexLock lock(&mutex_);
    faults_ = std::move(faults);
  }
  void SetLease(absl::Duration lease) {
    absl::MutexLock lock(&mutex_);
    lease_ = lease;
  }
  std::string AddBlob(const std::string& bytes) {
    absl::MutexLock lock(&mutex_);
    const std::string digest = Sha256Hex(bytes);
    blobs_[digest] = bytes;
    return digest;
  }
  // An attempt on a one-file model, whose recipe is what the fake job shall do.
  int64_t AddAttempt(const std::string& what, const std::string& model = "weights") {
    const std::string digest = AddBlob(model);
    absl::MutexLock lock(&mutex_);
    lathe::v1::Attempt attempt;
    attempt.set_lease_token(++last_token_);
    attempt.set_job(absl::StrCat("jobs/", last_token_));
    attempt.set_attempt_number(1);
    attempt.set_kind(lathe::v1::ATTEMPT_KIND_COMPRESS);
    auto* file = attempt.add_files();
    file->set_path("folder/model.onnx");
    file->set_digest(digest);
    file->set_size_bytes(static_cast<int64_t>(model.size()));
    attempt.set_main_file("folder/model.onnx");
    attempt.set_recipe_json(what);
    waiting_.push_back(attempt);
    return last_token_;
  }
  lathe::v1::Attempt* LastAttempt() { return &waiting_.back(); }
  void StopAttempt(int64_t token) {
    absl::MutexLock lock(&mutex_);
    stops_.push_back(token);
  }

  // --- What happened ---
  // For Await.
  bool last_synchronize_is_draining() const { return last_synchronize_.draining(); }
  // Waits until `condition`, which runs under the mutex, holds; false after 20 s.
  template <typename Condition>
  bool Await(Condition condition) {
    absl::MutexLock lock(&mutex_);
    return mutex_.AwaitWithTimeout(absl::Condition(&condition), absl::Seconds(20));
  }
  bool AwaitCompletions(size_t count) {
    return Await([this, count] { return completions_.size() >= count; });
  }
  // In a stage, as told by progress.
  bool AwaitStage(int64_t token, const std::string& stage) {
    return Await([this, token, stage] { return stages_[token] == stage; });
  }
  std::vector<lathe::v1::CompleteAttemptRequest> completions() {
    absl::MutexLock lock(&mutex_);
    return completions_;
  }
  bool AwaitLog(int64_t token, const std::string& part) {
    return Await([this, token, part] { return absl::StrContains(logs_[token], part); });
  }
  bool AwaitCheckpoints(size_t count) {
    return Await([this, count] { return checkpoints_.size() >= count; });
  }
  std::vector<lathe::v1::SaveCheckpointRequest> checkpoints() {
    absl::MutexLock lock(&mutex_);
    return checkpoints_;
  }
  std::vector<int64_t> download_offsets() {
    absl::MutexLock lock(&mutex_);
    return download_offsets_;
  }
  std::vector<int64_t> upload_offsets() {
    absl::MutexLock lock(&mutex_);
    return upload_offsets_;
  }
  std::map<std::string, std::string> blobs() {
    absl::MutexLock lock(&mutex_);
    return blobs_;
  }
  std::string token_seen() {
    absl::MutexLock lock(&mutex_);
    return token_seen_;
  }
  std::string log_of(int64_t token) {
    absl::MutexLock lock(&mutex_);
    return logs_[token];
  }
  lathe::v1::SynchronizeRequest last_synchronize() {
    absl::MutexLock lock(&mutex_);
    return last_synchronize_;
  }

  // --- The services ---
  grpc::Status Synchronize(grpc::ServerContext* context,
                           const lathe::v1::SynchronizeRequest* request,
                           lathe::v1::SynchronizeResponse* response) override {
    absl::MutexLock lock(&mutex_);
    const auto& metadata = context->client_metadata();
    if (const auto it = metadata.find("authorization"); it != metadata.end()) {
      token_seen_ = std::string(it->second.data(), it->second.size());
    }
    if (!faults_.synchronize.ok()) return faults_.synchronize;
    last_synchronize_ = *request;
    for (const auto& running : request->running()) {
      if (running.has_progress()) stages_[running.lease_token()] = running.progress().stage();
      for (const std::string& line : running.log_lines()) {
        absl::StrAppend(&logs_[running.lease_token()], line, "\n");
      }
    }
    const auto something = [this] { return !waiting_.empty() || !stops_.empty(); };
    mutex_.AwaitWithTimeout(
        absl::Condition(&something),
        std::min(absl::Milliseconds(50), absl::Seconds(request->max_wait().seconds()) +
                                             absl::Nanoseconds(request->max_wait().nanos())));
    for (int busy = request->running_size(); busy < request->slots() && !request->draining();
         ++busy) {
      if (waiting_.empty()) break;
      *response->add_start() = waiting_.front();
      waiting_.pop_front();
    }
    for (const int64_t token : stops_) {
      response->add_stop()->set_lease_token(token);
    }
    stops_.clear();
    response->mutable_lease_duration()->set_seconds(absl::ToInt64Seconds(lease_));
    response->mutable_lease_duration()->set_nanos(
        static_cast<int32_t>(absl::ToInt64Nanoseconds(lease_ % absl::Seconds(1))));
    return grpc::Status::OK;
  }

  grpc::Status CompleteAttempt(grpc::ServerContext*,
                               const lathe::v1::CompleteAttemptRequest* request,
                               lathe::v1::CompleteAttemptResponse*) override {
    absl::MutexLock lock(&mutex_);
    completions_.push_back(*request);
    if (faults_.completions.empty()) return grpc::Status::OK;
    const grpc::Status answer = faults_.completions.front();
    faults_.completions.pop_front();
    return answer;
  }

  grpc::Status SaveCheckpoint(grpc::ServerContext*, const lathe::v1::SaveCheckpointRequest* request,
                              lathe::v1::SaveCheckpointResponse*) override {
    absl::MutexLock lock(&mutex_);
    checkpoints_.push_back(*request);
    if (faults_.checkpoints.empty()) return grpc::Status::OK;
    const grpc::Status answer = faults_.checkpoints.front();
    faults_.checkpoints.pop_front();
    return answer;
  }

  grpc::Status FindMissingBlobs(grpc::ServerContext*,
                                const lathe::v1::FindMissingBlobsRequest* request,
                                lathe::v1::FindMissingBlobsResponse* response) override {
    absl::MutexLock lock(&mutex_);
    for (const std::string& digest : request->digests()) {
      if (blobs_.count(digest) == 0) response->add_missing_digests(digest);
    }
    return grpc::Status::OK;
  }

  grpc::Status PutBlob(grpc::ServerContext*, const lathe::v1::PutBlobRequest* request,
                       lathe::v1::Blob*) override {
    absl::MutexLock lock(&mutex_);
    blobs_[request->digest()] = request->data();
    return grpc::Status::OK;
  }

  grpc::Status QueryUpload(grpc::ServerContext*, const lathe::v1::QueryUploadRequest* request,
                           lathe::v1::QueryUploadResponse* response) override {
    absl::MutexLock lock(&mutex_);
    response->set_complete(blobs_.count(request->digest()) > 0);
    response->set_committed_bytes(static_cast<int64_t>(partial_[request->digest()].size()));
    return grpc::Status::OK;
  }

  grpc::Status UploadBlob(grpc::ServerContext*,
                          grpc::ServerReader<lathe::v1::UploadBlobRequest>* reader,
                          lathe::v1::Blob*) override {
    lathe::v1::UploadBlobRequest message;
    if (!reader->Read(&message) || !message.has_header()) {
      return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "header first");
    }
    const lathe::v1::UploadHeader header = message.header();
    int64_t taken = 0;
    while (reader->Read(&message)) {
      absl::MutexLock lock(&mutex_);
      std::string& partial = partial_[header.digest()];
      if (taken == 0) upload_offsets_.push_back(header.offset());
      if (taken == 0 && header.offset() != static_cast<int64_t>(partial.size())) {
        return grpc::Status(grpc::StatusCode::OUT_OF_RANGE, "WRONG_OFFSET");
      }
      partial += message.chunk();
      taken += static_cast<int64_t>(message.chunk().size());
      if (faults_.cut_upload_after >= 0 && taken >= faults_.cut_upload_after) {
        return grpc::Status(grpc::StatusCode::UNAVAILABLE, "cut");
      }
    }
    absl::MutexLock lock(&mutex_);
    const std::string& partial = partial_[header.digest()];
    if (Sha256Hex(partial) != header.digest()) {
      return grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "DIGEST_MISMATCH");
    }
    blobs_[header.digest()] = partial;
    return grpc::Status::OK;
  }

  grpc::Status DownloadBlob(grpc::ServerContext*, const lathe::v1::DownloadBlobRequest* request,
                            grpc::ServerWriter<lathe::v1::DownloadBlobResponse>* writer) override {
    std::string bytes;
    Faults faults;
    {
      absl::MutexLock lock(&mutex_);
      download_offsets_.push_back(request->offset());
      const auto it = blobs_.find(request->digest());
      if (it == blobs_.end()) return grpc::Status(grpc::StatusCode::NOT_FOUND, "no such blob");
      bytes = it->second.substr(static_cast<size_t>(request->offset()));
      faults.cut_download_after = faults_.cut_download_after;
      faults.flip_first_byte = faults_.flip_first_byte;
    }
    if (faults.flip_first_byte && !bytes.empty()) bytes[0] = static_cast<char>(bytes[0] ^ 1);
    const bool cut = faults.cut_download_after >= 0 &&
                     static_cast<int64_t>(bytes.size()) > faults.cut_download_after;
    if (cut) bytes.resize(static_cast<size_t>(faults.cut_download_after));
    lathe::v1::DownloadBlobResponse part;
    part.set_chunk(bytes);
    writer->Write(part);
    return cut ? grpc::Status(grpc::StatusCode::UNAVAILABLE, "cut") : grpc::Status::OK;
  }

 private:
  int port_ = 0;
  absl::Mutex mutex_;
  Faults faults_;
  absl::Duration lease_ = absl::Seconds(15);
  int64_t last_token_ = 0;
  std::map<std::string, std::string> blobs_;
  std::map<std::string, std::string> partial_;
  std::deque<lathe::v1::Attempt> waiting_;
  std::vector<int64_t> stops_;
  std::vector<lathe::v1::CompleteAttemptRequest> completions_;
  std::vector<lathe::v1::SaveCheckpointRequest> checkpoints_;
  std::map<int64_t, std::string> stages_;
  std::map<int64_t, std::string> logs_;
  std::vector<int64_t> download_offsets_;
  std::vector<int64_t> upload_offsets_;
  std::string token_seen_;
  lathe::v1::SynchronizeRequest last_synchronize_;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace lathe::worker

#endif  // LATHE_TESTS_UNIT_WORKER_AGENT_FAKE_SERVER_H_
