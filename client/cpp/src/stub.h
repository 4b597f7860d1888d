// The wire, as an interface that decorators wrap: Client <- RetryStub <- GrpcStub.
#ifndef LATHE_CLIENT_CPP_SRC_STUB_H_
#define LATHE_CLIENT_CPP_SRC_STUB_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "lathe/client.h"

namespace lathe::client {

// Every unary method: X(service, Method, Request, Response). All are safe to repeat: a second call
// after a lost answer changes nothing and answers the same (creations go under a request id).
#define LATHE_CLIENT_UNARY_METHODS(X)                                                 \
  X(BlobService, FindMissingBlobs, FindMissingBlobsRequest, FindMissingBlobsResponse) \
  X(BlobService, QueryUpload, QueryUploadRequest, QueryUploadResponse)                \
  X(ModelService, CreateModel, CreateModelRequest, Model)                             \
  X(ModelService, GetModel, GetModelRequest, Model)                                   \
  X(ModelService, ListModels, ListModelsRequest, ListModelsResponse)                  \
  X(ModelService, DeleteModel, DeleteModelRequest, DeleteModelResponse)               \
  X(ModelService, InspectModel, InspectModelRequest, InspectModelResponse)            \
  X(DatasetService, CreateDataset, CreateDatasetRequest, Dataset)                     \
  X(DatasetService, GetDataset, GetDatasetRequest, Dataset)                           \
  X(DatasetService, ListDatasets, ListDatasetsRequest, ListDatasetsResponse)          \
  X(JobService, CreateJob, CreateJobRequest, Job)                                     \
  X(JobService, GetJob, GetJobRequest, Job)                                           \
  X(JobService, ListJobs, ListJobsRequest, ListJobsResponse)                          \
  X(JobService, CancelJob, CancelJobRequest, Job)                                     \
  X(JobService, RetryJob, RetryJobRequest, Job)                                       \
  X(JobService, DeleteJob, DeleteJobRequest, DeleteJobResponse)                       \
  X(JobService, WaitJob, WaitJobRequest, Job)                                         \
  X(JobService, GetReport, GetReportRequest, GetReportResponse)                       \
  X(CapabilityService, GetCapabilities, GetCapabilitiesRequest, Capabilities)         \
  X(WorkerService, ListWorkers, ListWorkersRequest, ListWorkersResponse)

// Gives up to `size` next bytes of an upload; an empty view ends it. The view lives until the next
// call.
using ChunkSource = std::function<absl::StatusOr<absl::string_view>()>;

// Thread-safe. Errors carry the server's text, with the field violations and the reason it sent.
class Stub {
 public:
  virtual ~Stub() = default;
#define LATHE_DECLARE(service, method, request, response) \
  virtual absl::StatusOr<v1::response> method(const v1::request& req) = 0;
  LATHE_CLIENT_UNARY_METHODS(LATHE_DECLARE)
#undef LATHE_DECLARE
  // One attempt at an upload; not retried here: the client asks for the committed size and goes on
  // from there.
  virtual absl::StatusOr<v1::Blob> UploadBlob(const v1::UploadHeader& header,
                                              const ChunkSource& chunks) = 0;
  // Streams call `on_message` until the end; returning false stops with CANCELLED. Not retried here
  // either.
  virtual absl::Status DownloadBlob(const v1::DownloadBlobRequest& request,
                                    const std::function<bool(absl::string_view)>& on_chunk) = 0;
  virtual absl::Status WatchJob(const v1::WatchJobRequest& request,
                                const std::function<bool(const v1::JobEvent&)>& on_event) = 0;
  virtual absl::Status StreamLogs(const v1::StreamLogsRequest& request,
                                  const std::function<bool(const v1::JobLog&)>& on_line) = 0;
  // Waits for `duration`; true, and earlier, when a server that could not be reached now can.
  virtual bool AwaitConnection(absl::Duration duration);
};

// A gRPC channel. INVALID_ARGUMENT when the TLS file cannot be read.
absl::StatusOr<std::unique_ptr<Stub>> MakeGrpcStub(const ClientOptions& options);

// Repeats unary calls that failed as UNAVAILABLE, with exponential backoff and jitter, for up to
// options.retry_for. CANCELLED when options.cancelled says so meanwhile.
std::unique_ptr<Stub> MakeRetryStub(std::unique_ptr<Stub> inner, const ClientOptions& options);

// Backoff shared by retried calls and resumed streams.
class Backoff {
 public:
  // `stub` is what the calls go through.
  Backoff(const ClientOptions& options, Stub* stub);
  // Waits before another attempt; false when the time is up or the user cancelled.
  bool Wait(const std::string& call, const absl::Status& error);
  // Something was achieved: start over with short waits.
  void Reset();

 private:
  const ClientOptions& options_;
  Stub* const stub_;
  absl::Time give_up_;
  absl::Duration next_;
};

// Worth another attempt at the same call.
bool IsTransient(const absl::Status& status);

}  // namespace lathe::client

#endif  // LATHE_CLIENT_CPP_SRC_STUB_H_
