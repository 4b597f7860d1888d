// lathe.v1.BlobService over a BlobStore.
#ifndef LATHE_SERVER_RPC_BLOB_RPC_H_
#define LATHE_SERVER_RPC_BLOB_RPC_H_

#include "lathe/v1/blobs.grpc.pb.h"
#include "server/blobs/blob_store.h"
#include "server/rpc/call_guard.h"

namespace lathe::server {

class BlobRpc : public v1::BlobService::Service {
 public:
  BlobRpc(const CallGuard* guard, BlobStore* blobs, Metrics* metrics)
      : guard_(guard), blobs_(blobs), metrics_(metrics) {}

  grpc::Status FindMissingBlobs(grpc::ServerContext* context,
                                const v1::FindMissingBlobsRequest* request,
                                v1::FindMissingBlobsResponse* response) override;
  grpc::Status PutBlob(grpc::ServerContext* context, const v1::PutBlobRequest* request,
                       v1::Blob* response) override;
  grpc::Status UploadBlob(grpc::ServerContext* context,
                          grpc::ServerReader<v1::UploadBlobRequest>* reader,
                          v1::Blob* response) override;
  grpc::Status QueryUpload(grpc::ServerContext* context, const v1::QueryUploadRequest* request,
                           v1::QueryUploadResponse* response) override;
  grpc::Status GetBlob(grpc::ServerContext* context, const v1::GetBlobRequest* request,
                       v1::GetBlobResponse* response) override;
  grpc::Status DownloadBlob(grpc::ServerContext* context, const v1::DownloadBlobRequest* request,
                            grpc::ServerWriter<v1::DownloadBlobResponse>* writer) override;

 private:
  absl::Status Receive(grpc::ServerReader<v1::UploadBlobRequest>* reader, v1::Blob* response);
  absl::Status Send(const v1::DownloadBlobRequest& request,
                    grpc::ServerWriter<v1::DownloadBlobResponse>* writer);

  const CallGuard* const guard_;
  BlobStore* const blobs_;
  Metrics* const metrics_;
};

}  // namespace lathe::server

#endif  // LATHE_SERVER_RPC_BLOB_RPC_H_
