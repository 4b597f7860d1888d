// The gRPC server: every service, reflection, credentials.
#ifndef LATHE_SERVER_RPC_RPC_SERVER_H_
#define LATHE_SERVER_RPC_RPC_SERVER_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/blobs/blob_store.h"
#include "server/jobs/job_service.h"
#include "server/jobs/library.h"
#include "server/telemetry/metrics.h"

namespace lathe::server {

struct RpcOptions {
  std::string listen;  // HOST:PORT; port 0 is a free one
  std::string tls_cert_file;
  std::string tls_key_file;
  std::vector<std::string> tokens;
  // With TLS, listen for workers of this machine on a loopback port without it, too: no certificate
  // need be valid for 127.0.0.1. A token is asked for there as well.
  bool local_workers = false;
  int max_attempts = 3;
};

class RpcServer {
 public:
  // UNAVAILABLE when the address cannot be bound, INVALID_ARGUMENT for unreadable TLS files.
  // Pointers must outlive the server.
  static absl::StatusOr<std::unique_ptr<RpcServer>> Start(const RpcOptions& options,
                                                          Library* library, JobService* jobs,
                                                          BlobStore* blobs, Metrics* metrics);
  // Shutdown(0) when it was not called.
  ~RpcServer();

  // HOST:PORT with the port that was bound.
  const std::string& address() const;
  // Where workers of this machine connect, without TLS: address(), or the loopback port.
  const std::string& local_address() const;
  // Health answers NOT_SERVING from now on; calls go on being served.
  void SetNotServing();
  // No new calls; running ones get `grace`, then are cancelled.
  void Shutdown(absl::Duration grace);

 private:
  class Impl;
  explicit RpcServer(std::unique_ptr<Impl> impl);
  const std::unique_ptr<Impl> impl_;
};

}  // namespace lathe::server

#endif  // LATHE_SERVER_RPC_RPC_SERVER_H_
