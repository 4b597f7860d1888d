// A real server behind a relay with faults to order: calls that fail before they reach it, streams
// that are cut midway. What gets through is answered by the real thing.
#ifndef LATHE_TESTS_UNIT_CLIENT_CPP_FAULTY_SERVER_H_
#define LATHE_TESTS_UNIT_CLIENT_CPP_FAULTY_SERVER_H_

#include <grpcpp/grpcpp.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "tests/support/test_server.h"

namespace lathe::client {

struct Faults {
  // The next `failing_calls` unary calls end with `failure`.
  grpc::Status failure = grpc::Status(grpc::StatusCode::UNAVAILABLE, "injected");
  int failing_calls = 0;
  // The next `cuts` streams end with `failure` after `cut_after` messages (an upload's header not
  // counted).
  int cuts = 0;
  int cut_after = 0;
  // A cut stream ends with OK instead, as that of a draining server may.
  bool cut_in_peace = false;
};

class FaultyServer final : public v1::BlobService::Service,
                           public v1::ModelService::Service,
                           public v1::JobService::Service {
 public:
  FaultyServer() : real_(inner_.NewChannel()) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(static_cast<v1::BlobService::Service*>(this));
    builder.RegisterService(static_cast<v1::ModelService::Service*>(this));
    builder.RegisterService(static_cast<v1::JobService::Service*>(this));
    server_ = builder.BuildAndStart();
  }
  ~FaultyServer() override { server_->Shutdown(absl::ToChronoTime(absl::Now())); }

  std::string address() const { return absl::StrCat("127.0.0.1:", port_); }
  // Behind the relay, where nothing fails.
  server::TestServer& inner() { return inner_; }
  server::TestCalls& real() { return real_; }

  void SetFaults(const Faults& faults) {
    absl::MutexLock lock(&mutex_);
    faults_ = faults;
  }
  // Calls of a method that arrived, failed ones included.
  int CallsOf(const std::string& method) {
    absl::MutexLock lock(&mutex_);
    return calls_[method];
  }
  // Where each upload, download or watch was asked to begin, in order.
  std::vector<int64_t> starts() {
    absl::MutexLock lock(&mutex_);
    return starts_;
  }
  // Chunks of uploads that arrived, over all streams.
  int chunks() {
    absl::MutexLock lock(&mutex_);
    return chunks_;
  }

#define LATHE_RELAY(stub, method, request, response)                                               \
  grpc::Status method(grpc::ServerContext*, const v1::request* req, v1::response* resp) override { \
    if (const grpc::Status fault = Enter(#method); !fault.ok()) return fault;                      \
    grpc::ClientContext context;                                                                   \
    return real_.stub->method(&context, *req, resp);                                               \
  }
  LATHE_RELAY(blobs, QueryUpload, QueryUploadRequest, QueryUploadResponse)
  LATHE_RELAY(models, CreateModel, CreateModelRequest, Model)
  LATHE_RELAY(models, GetModel, GetModelRequest, Model)
  LATHE_RELAY(jobs, CreateJob, CreateJobRequest, Job)
  LATHE_RELAY(jobs, GetJob, GetJobRequest, Job)
  LATHE_RELAY(jobs, WaitJob, WaitJobRequest, Job)
#undef LATHE_RELAY

  grpc::Status UploadBlob(grpc::ServerContext*, grpc::ServerReader<v1::UploadBlobRequest>* reader,
                          v1::Blob* response) override {
    grpc::ClientContext context;
    const auto writer = real_.blobs->UploadBlob(&context, response);
    v1::UploadBlobRequest message;
    reader->Read(&message);
    const int cut_after = EnterStream("UploadBlob", message.header().offset());
    writer->Write(message);
    for (int sent = 0; sent != cut_after && reader->Read(&message); ++sent) {
      absl::MutexLock lock(&mutex_);
      ++chunks_;
      writer->Write(message);
    }
    writer->WritesDone();
    const grpc::Status status = writer->Finish();  // what arrived is committed
    return cut_after >= 0 ? Cut() : status;
  }
  grpc::Status DownloadBlob(grpc::ServerContext*, const v1::DownloadBlobRequest* request,
                            grpc::ServerWriter<v1::DownloadBlobResponse>* writer) override {
    const int cut_after = EnterStream("DownloadBlob", request->offset());
    grpc::ClientContext context;
    return Pass(real_.blobs->DownloadBlob(&context, *request), &context, writer, cut_after);
  }
  grpc::Status WatchJob(grpc::ServerContext*, const v1::WatchJobRequest* request,
                        grpc::ServerWriter<v1::JobEvent>* writer) override {
    const int cut_after = EnterStream("WatchJob", request->after_sequence());
    grpc::ClientContext context;
    return Pass(real_.jobs->WatchJob(&context, *request), &context, writer, cut_after);
  }
  grpc::Status StreamLogs(grpc::ServerContext*, const v1::StreamLogsRequest* request,
                          grpc::ServerWriter<v1::JobLog>* writer) override {
    const int cut_after = EnterStream("StreamLogs", request->after_sequence());
    grpc::ClientContext context;
    return Pass(real_.jobs->StreamLogs(&context, *request), &context, writer, cut_after);
  }

 private:
  grpc::Status Enter(const std::string& method) {
    absl::MutexLock lock(&mutex_);
    ++calls_[method];
    if (faults_.failing_calls == 0) return grpc::Status::OK;
    --faults_.failing_calls;
    return faults_.failure;
  }
  // After how many messages this stream is to be cut; -1: never.
  int EnterStream(const std::string& method, int64_t start) {
    absl::MutexLock lock(&mutex_);
    ++calls_[method];
    starts_.push_back(start);
    if (faults_.cuts == 0) return -1;
    --faults_.cuts;
    return faults_.cut_after;
  }
  grpc::Status Cut() {
    absl::MutexLock lock(&mutex_);
    return faults_.cut_in_peace ? grpc::Status::OK : faults_.failure;
  }
  template <typename Message>
  grpc::Status Pass(const std::unique_ptr<grpc::ClientReader<Message>>& reader,
                    grpc::ClientContext* context, grpc::ServerWriter<Message>* writer,
                    int cut_after) {
    Message message;
    for (int sent = 0; sent != cut_after && reader->Read(&message); ++sent) writer->Write(message);
    if (cut_after >= 0) context->TryCancel();
    const grpc::Status status = reader->Finish();
    return cut_after >= 0 ? Cut() : status;
  }

  server::TestServer inner_;
  server::TestCalls real_;
  int port_ = 0;
  absl::Mutex mutex_;
  Faults faults_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, int> calls_ ABSL_GUARDED_BY(mutex_);
  std::vector<int64_t> starts_ ABSL_GUARDED_BY(mutex_);
  int chunks_ ABSL_GUARDED_BY(mutex_) = 0;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace lathe::client

#endif  // LATHE_TESTS_UNIT_CLIENT_CPP_FAULTY_SERVER_H_
