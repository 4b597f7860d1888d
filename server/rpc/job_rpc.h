// lathe.v1.JobService over the job service.
#ifndef LATHE_SERVER_RPC_JOB_RPC_H_
#define LATHE_SERVER_RPC_JOB_RPC_H_

#include "lathe/v1/jobs.grpc.pb.h"
#include "server/blobs/blob_store.h"
#include "server/jobs/job_service.h"
#include "server/rpc/call_guard.h"

namespace lathe::server {

class JobRpc : public v1::JobService::Service {
 public:
  JobRpc(const CallGuard* guard, lathe::server::JobService* jobs, BlobStore* blobs)
      : guard_(guard), jobs_(jobs), blobs_(blobs) {}

  grpc::Status CreateJob(grpc::ServerContext* context, const v1::CreateJobRequest* request,
                         v1::Job* response) override;
  grpc::Status GetJob(grpc::ServerContext* context, const v1::GetJobRequest* request,
                      v1::Job* response) override;
  grpc::Status ListJobs(grpc::ServerContext* context, const v1::ListJobsRequest* request,
                        v1::ListJobsResponse* response) override;
  grpc::Status CancelJob(grpc::ServerContext* context, const v1::CancelJobRequest* request,
                         v1::Job* response) override;
  grpc::Status RetryJob(grpc::ServerContext* context, const v1::RetryJobRequest* request,
                        v1::Job* response) override;
  grpc::Status DeleteJob(grpc::ServerContext* context, const v1::DeleteJobRequest* request,
                         v1::DeleteJobResponse* response) override;
  grpc::Status WaitJob(grpc::ServerContext* context, const v1::WaitJobRequest* request,
                       v1::Job* response) override;
  grpc::Status WatchJob(grpc::ServerContext* context, const v1::WatchJobRequest* request,
                        grpc::ServerWriter<v1::JobEvent>* writer) override;
  grpc::Status StreamLogs(grpc::ServerContext* context, const v1::StreamLogsRequest* request,
                          grpc::ServerWriter<v1::JobLog>* writer) override;
  grpc::Status GetReport(grpc::ServerContext* context, const v1::GetReportRequest* request,
                         v1::GetReportResponse* response) override;

 private:
  const CallGuard* const guard_;
  lathe::server::JobService* const jobs_;
  BlobStore* const blobs_;
};

}  // namespace lathe::server

#endif  // LATHE_SERVER_RPC_JOB_RPC_H_
