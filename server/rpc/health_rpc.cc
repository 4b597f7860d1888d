#include "server/rpc/health_rpc.h"

#include <optional>

#include "absl/time/time.h"

namespace lathe::server {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

void HealthRpc::SetServing(bool serving) {
  absl::MutexLock lock(&mutex_);
  serving_ = serving;
}

bool HealthRpc::serving() const {
  absl::MutexLock lock(&mutex_);
  return serving_;
}

void HealthRpc::Shutdown() {
  absl::MutexLock lock(&mutex_);
  serving_ = false;
  shutdown_ = true;
}

grpc::Status HealthRpc::Check(grpc::ServerContext*, const HealthCheckRequest* request,
                              HealthCheckResponse* response) {
  if (!request->service().empty() && services_.count(request->service()) == 0) {
    return grpc::Status(grpc::StatusCode::NOT_FOUND,
                        "no service " + request->service().substr(0, 100));
  }
  response->set_status(serving() ? HealthCheckResponse::SERVING : HealthCheckResponse::NOT_SERVING);
  return grpc::Status::OK;
}

grpc::Status HealthRpc::Watch(grpc::ServerContext* context, const HealthCheckRequest* request,
                              grpc::ServerWriter<HealthCheckResponse>* writer) {
  const bool known = request->service().empty() || services_.count(request->service()) != 0;
  std::optional<HealthCheckResponse::ServingStatus> told;
  while (!context->IsCancelled()) {
    HealthCheckResponse response;
    bool last = false;
    {
      absl::MutexLock lock(&mutex_);
      response.set_status(!known     ? HealthCheckResponse::SERVICE_UNKNOWN
                          : serving_ ? HealthCheckResponse::SERVING
                                     : HealthCheckResponse::NOT_SERVING);
      last = shutdown_;
    }
    if (told != response.status() && !writer->Write(response)) break;
    told = response.status();
    if (last) break;
    absl::MutexLock lock(&mutex_);
    const bool was = serving_;
    const auto changed = [this, was]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return shutdown_ || serving_ != was;
    };
    mutex_.AwaitWithTimeout(absl::Condition(&changed), absl::Seconds(2));
  }
  return grpc::Status::OK;
}

}  // namespace lathe::server
