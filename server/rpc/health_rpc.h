// grpc.health.v1.Health. Open to everybody: load balancers carry no token.
#ifndef LATHE_SERVER_RPC_HEALTH_RPC_H_
#define LATHE_SERVER_RPC_HEALTH_RPC_H_

#include <set>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "grpc/health/v1/health.grpc.pb.h"

namespace lathe::server {

class HealthRpc : public grpc::health::v1::Health::Service {
 public:
  explicit HealthRpc(std::set<std::string> services) : services_(std::move(services)) {}

  void SetServing(bool serving);
  bool serving() const;
  // Ends all watches.
  void Shutdown();

  grpc::Status Check(grpc::ServerContext* context,
                     const grpc::health::v1::HealthCheckRequest* request,
                     grpc::health::v1::HealthCheckResponse* response) override;
  grpc::Status Watch(grpc::ServerContext* context,
                     const grpc::health::v1::HealthCheckRequest* request,
                     grpc::ServerWriter<grpc::health::v1::HealthCheckResponse>* writer) override;

 private:
  const std::set<std::string> services_;
  mutable absl::Mutex mutex_;
  bool serving_ ABSL_GUARDED_BY(mutex_) = true;
  bool shutdown_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace lathe::server

#endif  // LATHE_SERVER_RPC_HEALTH_RPC_H_
