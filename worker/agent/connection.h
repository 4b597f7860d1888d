// The channel to the server, and the calls made on it.
#ifndef LATHE_WORKER_AGENT_CONNECTION_H_
#define LATHE_WORKER_AGENT_CONNECTION_H_

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <memory>
#include <random>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "lathe/v1/blobs.grpc.pb.h"
#include "lathe/v1/workers.grpc.pb.h"
#include "worker/agent/cancel.h"

namespace lathe::worker {

struct ConnectionOptions {
  std::string server;       // "host:port"
  std::string token_file;   // holds the bearer token; "": none
  std::string tls_ca_file;  // PEM; "": plaintext
};

// Thread-safe.
class ServerConnection {
 public:
  // NOT_FOUND or INVALID_ARGUMENT when a file cannot be read or is empty. Does not connect yet.
  static absl::StatusOr<std::unique_ptr<ServerConnection>> Create(const ConnectionOptions& options);

  lathe::v1::WorkerService::StubInterface& workers() { return *workers_; }
  lathe::v1::BlobService::StubInterface& blobs() { return *blobs_; }
  const std::string& token() const { return token_; }
  // Waits for `duration`, less when cancelled, or when a server that could not be reached now can.
  // gRPC looks at a connection that is being made only while somebody waits for it.
  void AwaitConnection(const CancelScope& scope, absl::Duration duration);

 private:
  ServerConnection(std::shared_ptr<grpc::Channel> channel, std::string token);

  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<lathe::v1::WorkerService::Stub> workers_;
  const std::unique_ptr<lathe::v1::BlobService::Stub> blobs_;
  const std::string token_;
};

// The context of one call: with a deadline, the token, and a scope that can cancel it.
class ServerCall {
 public:
  ServerCall(const ServerConnection& connection, CancelScope* scope, absl::Duration timeout);
  ~ServerCall();
  ServerCall(const ServerCall&) = delete;
  ServerCall& operator=(const ServerCall&) = delete;

  grpc::ClientContext* context() { return &context_; }

 private:
  grpc::ClientContext context_;
  CancelScope* const scope_;
};

// Same code and message.
absl::Status FromGrpc(const grpc::Status& status);
// Trying again may help: the network, a restart, a full disk over there.
bool IsRetryable(const absl::Status& status);

// Waits between tries: 0.1 s doubling to `most`, each less up to a half at random, so that workers
// cut off together do not come back together. Not thread-safe.
class RetryDelay {
 public:
  explicit RetryDelay(absl::Duration most) : most_(most), random_(std::random_device{}()) {}
  void Reset() { next_ = absl::Milliseconds(100); }
  absl::Duration Next();

 private:
  const absl::Duration most_;
  absl::Duration next_ = absl::Milliseconds(100);
  std::minstd_rand random_;
};

}  // namespace lathe::worker

#endif  // LATHE_WORKER_AGENT_CONNECTION_H_
