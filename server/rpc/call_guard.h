// What every call passes through: authentication, metrics, and the conversion of statuses.
#ifndef LATHE_SERVER_RPC_CALL_GUARD_H_
#define LATHE_SERVER_RPC_CALL_GUARD_H_

#include <grpcpp/grpcpp.h>

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "server/jobs/job_service.h"

namespace lathe::server {

class Metrics;

// Thread-safe.
class CallGuard {
 public:
  // `tokens`: bearer tokens, any of which lets a call in; empty lets everybody in. `metrics` may be
  // nullptr.
  CallGuard(std::vector<std::string> tokens, Metrics* metrics);

  // Runs one call: counts it, checks its token, runs `work`, converts what it returns.
  grpc::Status Run(grpc::ServerContext* context, absl::string_view method,
                   const std::function<absl::Status()>& work) const;

 private:
  absl::Status Authenticate(const grpc::ServerContext& context) const;

  const std::vector<std::string> tokens_;
  Metrics* const metrics_;
};

// A status of the domain, with its reason and field, as it goes on the wire.
grpc::Status ToWire(const absl::Status& status);

// How a handler waits: until `timeout`, the caller's deadline, or the caller is gone.
WaitOptions WaitFor(grpc::ServerContext* context, absl::Duration timeout);

}  // namespace lathe::server

#endif  // LATHE_SERVER_RPC_CALL_GUARD_H_
