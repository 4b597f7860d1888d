// lathe.v1.WorkerService over the job service, and lathe.v1.CapabilityService over the catalogue.
#ifndef LATHE_SERVER_RPC_WORKER_RPC_H_
#define LATHE_SERVER_RPC_WORKER_RPC_H_

#include "lathe/v1/capabilities.grpc.pb.h"
#include "lathe/v1/workers.grpc.pb.h"
#include "server/jobs/job_service.h"
#include "server/rpc/call_guard.h"

namespace lathe::server {

class WorkerRpc : public v1::WorkerService::Service {
 public:
  WorkerRpc(const CallGuard* guard, JobService* jobs) : guard_(guard), jobs_(jobs) {}

  grpc::Status ListWorkers(grpc::ServerContext* context, const v1::ListWorkersRequest* request,
                           v1::ListWorkersResponse* response) override;
  grpc::Status Synchronize(grpc::ServerContext* context, const v1::SynchronizeRequest* request,
                           v1::SynchronizeResponse* response) override;
  grpc::Status CompleteAttempt(grpc::ServerContext* context,
                               const v1::CompleteAttemptRequest* request,
                               v1::CompleteAttemptResponse* response) override;
  grpc::Status SaveCheckpoint(grpc::ServerContext* context,
                              const v1::SaveCheckpointRequest* request,
                              v1::SaveCheckpointResponse* response) override;

 private:
  const CallGuard* const guard_;
  JobService* const jobs_;
};

class CapabilityRpc : public v1::CapabilityService::Service {
 public:
  CapabilityRpc(const CallGuard* guard, int max_attempts)
      : guard_(guard), max_attempts_(max_attempts) {}

  grpc::Status GetCapabilities(grpc::ServerContext* context,
                               const v1::GetCapabilitiesRequest* request,
                               v1::Capabilities* response) override;

 private:
  const CallGuard* const guard_;
  const int max_attempts_;
};

}  // namespace lathe::server

#endif  // LATHE_SERVER_RPC_WORKER_RPC_H_
