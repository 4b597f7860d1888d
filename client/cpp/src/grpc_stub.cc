#include <grpcpp/grpcpp.h>

#include <fstream>
#include <set>
#include <sstream>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "client/cpp/src/stub.h"
#include "common/limits.h"
#include "common/status_reason.h"
#include "lathe/v1/blobs.grpc.pb.h"
#include "lathe/v1/capabilities.grpc.pb.h"
#include "lathe/v1/datasets.grpc.pb.h"
#include "lathe/v1/jobs.grpc.pb.h"
#include "lathe/v1/models.grpc.pb.h"
#include "lathe/v1/workers.grpc.pb.h"
#include "proto/grpc_status.h"

namespace lathe::client {
namespace {

// Deadline of unary calls; those that wait on the server get their own.
constexpr absl::Duration kUnaryDeadline = absl::Seconds(60);
constexpr absl::Duration kInspectDeadline = absl::Hours(1);

// Cancels the calls under way when the user does: gRPC's synchronous calls cannot be interrupted
// otherwise. One thread for all calls, and none when nobody can cancel.
class CancelWatch {
 public:
  explicit CancelWatch(std::function<bool()> cancelled) : cancelled_(std::move(cancelled)) {
    if (cancelled_) thread_ = std::thread([this] { Run(); });
  }
  ~CancelWatch() {
    {
      absl::MutexLock lock(&mutex_);
      done_ = true;
    }
    if (thread_.joinable()) thread_.join();
  }

  // A call that is watched as long as this lives.
  class Call {
   public:
    Call(CancelWatch* watch, grpc::ClientContext* context) : watch_(watch), context_(context) {
      absl::MutexLock lock(&watch_->mutex_);
      watch_->calls_.insert(context_);
    }
    ~Call() {
      absl::MutexLock lock(&watch_->mutex_);
      watch_->calls_.erase(context_);
    }
    Call(const Call&) = delete;
    Call& operator=(const Call&) = delete;

   private:
    CancelWatch* const watch_;
    grpc::ClientContext* const context_;
  };

 private:
  void Run() {
    absl::MutexLock lock(&mutex_);
    while (!mutex_.AwaitWithTimeout(absl::Condition(&done_), absl::Milliseconds(50))) {
      if (calls_.empty() || !cancelled_()) continue;
      for (grpc::ClientContext* context : calls_) context->TryCancel();
    }
  }

  const std::function<bool()> cancelled_;
  absl::Mutex mutex_;
  bool done_ ABSL_GUARDED_BY(mutex_) = false;
  std::set<grpc::ClientContext*> calls_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_;
};

class GrpcStub : public Stub {
 public:
  GrpcStub(std::shared_ptr<grpc::Channel> channel, const ClientOptions& options)
      : server_(options.server),
        tls_ca_file_(options.tls_ca_file),
        token_(options.token),
        watch_(options.cancelled),
        channel_(channel),
        blobs_(v1::BlobService::NewStub(channel)),
        models_(v1::ModelService::NewStub(channel)),
        datasets_(v1::DatasetService::NewStub(channel)),
        jobs_(v1::JobService::NewStub(channel)),
        capabilities_(v1::CapabilityService::NewStub(channel)),
        workers_(v1::WorkerService::NewStub(channel)) {}

#define LATHE_DEFINE(service, method, request, response)                                    \
  absl::StatusOr<v1::response> method(const v1::request& req) override {                    \
    grpc::ClientContext context;                                                            \
    Prepare(context, DeadlineOf(req));                                                      \
    const CancelWatch::Call watched(&watch_, &context);                                     \
    v1::response answer;                                                                    \
    const absl::Status status = Convert(StubOf##service()->method(&context, req, &answer)); \
    if (!status.ok()) return status;                                                        \
    return answer;                                                                          \
  }
  LATHE_CLIENT_UNARY_METHODS(LATHE_DEFINE)
#undef LATHE_DEFINE

  absl::StatusOr<v1::Blob> UploadBlob(const v1::UploadHeader& header,
                                      const ChunkSource& chunks) override {
    grpc::ClientContext context;
    Prepare(context, absl::InfiniteDuration());
    const CancelWatch::Call watched(&watch_, &context);
    v1::Blob blob;
    auto writer = blobs_->UploadBlob(&context, &blob);
    v1::UploadBlobRequest message;
    *message.mutable_header() = header;
    bool writing = writer->Write(message);
    absl::Status local;
    while (writing) {
      const absl::StatusOr<absl::string_view> chunk = chunks();
      if (!chunk.ok()) {
        local = chunk.status();
        context.TryCancel();
        break;
      }
      if (chunk->empty()) break;
      message.set_chunk(chunk->data(), chunk->size());
      writing = writer->Write(message);
    }
    writer->WritesDone();
    const absl::Status status = Convert(writer->Finish());
    if (!local.ok()) return local;
    if (!status.ok()) return status;
    return blob;
  }

  absl::Status DownloadBlob(const v1::DownloadBlobRequest& request,
                            const std::function<bool(absl::string_view)>& on_chunk) override {
    return Stream<v1::DownloadBlobResponse>(
        [&](grpc::ClientContext* context) { return blobs_->DownloadBlob(context, request); },
        [&](const v1::DownloadBlobResponse& message) { return on_chunk(message.chunk()); });
  }

  absl::Status WatchJob(const v1::WatchJobRequest& request,
                        const std::function<bool(const v1::JobEvent&)>& on_event) override {
    return Stream<v1::JobEvent>(
        [&](grpc::ClientContext* context) { return jobs_->WatchJob(context, request); }, on_event);
  }

  absl::Status StreamLogs(const v1::StreamLogsRequest& request,
                          const std::function<bool(const v1::JobLog&)>& on_line) override {
    return Stream<v1::JobLog>(
        [&](grpc::ClientContext* context) { return jobs_->StreamLogs(context, request); }, on_line);
  }

  // gRPC looks at a connection that is being made only while somebody waits for it.
  bool AwaitConnection(absl::Duration duration) override {
    if (channel_->GetState(/*try_to_connect=*/true) == GRPC_CHANNEL_READY) {
      return Stub::AwaitConnection(duration);  // it answers, but not yet as we wish
    }
    return channel_->WaitForConnected(absl::ToChronoTime(absl::Now() + duration));
  }

 private:
  v1::BlobService::Stub* StubOfBlobService() { return blobs_.get(); }
  v1::ModelService::Stub* StubOfModelService() { return models_.get(); }
  v1::DatasetService::Stub* StubOfDatasetService() { return datasets_.get(); }
  v1::JobService::Stub* StubOfJobService() { return jobs_.get(); }
  v1::CapabilityService::Stub* StubOfCapabilityService() { return capabilities_.get(); }
  v1::WorkerService::Stub* StubOfWorkerService() { return workers_.get(); }

  static absl::Duration DeadlineOf(const v1::InspectModelRequest&) { return kInspectDeadline; }
  static absl::Duration DeadlineOf(const v1::WaitJobRequest& request) {
    return absl::Seconds(request.timeout().seconds()) + kUnaryDeadline;
  }
  template <typename Request>
  static absl::Duration DeadlineOf(const Request&) {
    return kUnaryDeadline;
  }

  void Prepare(grpc::ClientContext& context, absl::Duration deadline) const {
    if (!token_.empty()) context.AddMetadata("authorization", "Bearer " + token_);
    if (deadline != absl::InfiniteDuration()) {
      context.set_deadline(absl::ToChronoTime(absl::Now() + deadline));
    }
  }

  absl::Status Convert(const grpc::Status& status) const {
    absl::Status converted = FromGrpcStatus(status);
    // With a reason it is the server's own answer; without one, nobody answered.
    if (converted.code() == absl::StatusCode::kUnavailable && ReasonOf(converted).empty()) {
      // gRPC cannot tell a peer of the other kind from a broken one.
      const std::string tls =
          tls_ca_file_.empty()
              ? ", without TLS? (--server, LATHE_SERVER; --tls-ca FILE for a server with TLS)"
              : absl::StrCat(", with TLS and a certificate that ", tls_ca_file_,
                             " vouches for, made for this name? (--server, --tls-ca)");
      return absl::UnavailableError(absl::StrCat("cannot reach the server at ", server_, ": ",
                                                 converted.message(), "; is lathed running there",
                                                 tls));
    }
    return converted;
  }

  template <typename Message, typename Open, typename OnMessage>
  absl::Status Stream(const Open& open, const OnMessage& on_message) {
    grpc::ClientContext context;
    Prepare(context, absl::InfiniteDuration());
    const CancelWatch::Call watched(&watch_, &context);
    std::unique_ptr<grpc::ClientReader<Message>> reader = open(&context);
    Message message;
    bool stopped = false;
    while (reader->Read(&message)) {
      if (!on_message(message)) {
        stopped = true;
        context.TryCancel();
        break;
      }
    }
    const absl::Status status = Convert(reader->Finish());
    if (stopped) return absl::CancelledError("stopped by the caller");
    return status;
  }

  const std::string server_;
  const std::string tls_ca_file_;
  const std::string token_;
  CancelWatch watch_;
  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<v1::BlobService::Stub> blobs_;
  const std::unique_ptr<v1::ModelService::Stub> models_;
  const std::unique_ptr<v1::DatasetService::Stub> datasets_;
  const std::unique_ptr<v1::JobService::Stub> jobs_;
  const std::unique_ptr<v1::CapabilityService::Stub> capabilities_;
  const std::unique_ptr<v1::WorkerService::Stub> workers_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Stub>> MakeGrpcStub(const ClientOptions& options) {
  std::shared_ptr<grpc::ChannelCredentials> credentials = grpc::InsecureChannelCredentials();
  if (options.tls_ca_file == "system") {
    credentials = grpc::SslCredentials({});
  } else if (!options.tls_ca_file.empty()) {
    std::ifstream in(options.tls_ca_file, std::ios::binary);
    std::ostringstream pem;
    pem << in.rdbuf();
    if (!in || pem.str().empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("cannot read certificate authorities from ", options.tls_ca_file));
    }
    grpc::SslCredentialsOptions ssl;
    ssl.pem_root_certs = pem.str();
    credentials = grpc::SslCredentials(ssl);
  }
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(static_cast<int>(limits::kMaxMessageBytes));
  arguments.SetMaxSendMessageSize(static_cast<int>(limits::kMaxMessageBytes));
  // A dead peer is noticed within half a minute, also while a watch is silent.
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 20000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 10000);
  // Short reconnect waits: the server next door may only just be starting.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  // In spite of its name this is how long one attempt may take, TLS handshake and all.
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 5000);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 5000);
  return std::make_unique<GrpcStub>(
      grpc::CreateCustomChannel(options.server, credentials, arguments), options);
}

}  // namespace lathe::client
