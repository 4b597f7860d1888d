// lathe.v1.ModelService and DatasetService over the library.
#ifndef LATHE_SERVER_RPC_LIBRARY_RPC_H_
#define LATHE_SERVER_RPC_LIBRARY_RPC_H_

#include "lathe/v1/datasets.grpc.pb.h"
#include "lathe/v1/models.grpc.pb.h"
#include "server/blobs/blob_store.h"
#include "server/jobs/job_service.h"
#include "server/jobs/library.h"
#include "server/rpc/call_guard.h"

namespace lathe::server {

class ModelRpc : public v1::ModelService::Service {
 public:
  // `metrics` may be nullptr.
  ModelRpc(const CallGuard* guard, Library* library, JobService* jobs, BlobStore* blobs,
           Metrics* metrics)
      : guard_(guard), library_(library), jobs_(jobs), blobs_(blobs), metrics_(metrics) {}

  grpc::Status CreateModel(grpc::ServerContext* context, const v1::CreateModelRequest* request,
                           v1::Model* response) override;
  grpc::Status GetModel(grpc::ServerContext* context, const v1::GetModelRequest* request,
                        v1::Model* response) override;
  grpc::Status ListModels(grpc::ServerContext* context, const v1::ListModelsRequest* request,
                          v1::ListModelsResponse* response) override;
  grpc::Status DeleteModel(grpc::ServerContext* context, const v1::DeleteModelRequest* request,
                           v1::DeleteModelResponse* response) override;
  grpc::Status InspectModel(grpc::ServerContext* context, const v1::InspectModelRequest* request,
                            v1::InspectModelResponse* response) override;

 private:
  const CallGuard* const guard_;
  Library* const library_;
  JobService* const jobs_;
  BlobStore* const blobs_;
  Metrics* const metrics_;
};

class DatasetRpc : public v1::DatasetService::Service {
 public:
  DatasetRpc(const CallGuard* guard, Library* library) : guard_(guard), library_(library) {}

  grpc::Status CreateDataset(grpc::ServerContext* context, const v1::CreateDatasetRequest* request,
                             v1::Dataset* response) override;
  grpc::Status GetDataset(grpc::ServerContext* context, const v1::GetDatasetRequest* request,
                          v1::Dataset* response) override;
  grpc::Status ListDatasets(grpc::ServerContext* context, const v1::ListDatasetsRequest* request,
                            v1::ListDatasetsResponse* response) override;
  grpc::Status DeleteDataset(grpc::ServerContext* context, const v1::DeleteDatasetRequest* request,
                             v1::DeleteDatasetResponse* response) override;

 private:
  const CallGuard* const guard_;
  Library* const library_;
};

}  // namespace lathe::server

#endif  // LATHE_SERVER_RPC_LIBRARY_RPC_H_
