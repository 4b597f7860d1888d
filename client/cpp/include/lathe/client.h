// Lathe's C++ SDK: upload a model, submit a job, wait for or watch it, download the result.
//
//   auto client = lathe::client::Client::Connect({.server = "127.0.0.1:50051"});
//   auto model = (*client)->UploadModel("net.onnx", {});
//   lathe::v1::Job job;
//   job.set_model(model->name());
//   job.mutable_recipe()->add_steps()->mutable_quantize_weights()->set_bits(8);
//   auto created = (*client)->CreateJob(job);
//   auto done = (*client)->WaitJob(created->name(), absl::InfiniteDuration());
//   auto saved = (*client)->DownloadModel(done->result().model(), "small.onnx", {});
//
// Every call retries what is safe to retry: unavailable servers with backoff, uploads and downloads
// from where they stopped, creations under a request id. Errors are absl::Status with the server's
// text; ErrorReason and FieldErrors tell the machine-readable part.
#ifndef LATHE_CLIENT_CPP_INCLUDE_LATHE_CLIENT_H_
#define LATHE_CLIENT_CPP_INCLUDE_LATHE_CLIENT_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "lathe/v1/blobs.pb.h"
#include "lathe/v1/capabilities.pb.h"
#include "lathe/v1/datasets.pb.h"
#include "lathe/v1/jobs.pb.h"
#include "lathe/v1/models.pb.h"
#include "lathe/v1/workers.pb.h"

namespace lathe::client {

class Stub;

struct ClientOptions {
  std::string server = "127.0.0.1:50051";  // HOST:PORT
  std::string token = {};                  // bearer token; "" sends none
  // PEM file of the authorities to trust; non-empty turns TLS on. "system" uses the machine's.
  std::string tls_ca_file = {};
  // How long one call goes on being retried while the server cannot be reached.
  absl::Duration retry_for = absl::Seconds(20);
  // Called before each wait of a retry: which call, what went wrong, how long the wait is. For
  // logs.
  std::function<void(const std::string& call, const absl::Status& error, absl::Duration wait)>
      on_retry = {};
  // True stops calls that are under way or being retried, with CANCELLED. Polled every 100 ms.
  std::function<bool()> cancelled = {};
};

// Bytes done of all bytes, over all files of a transfer.
using TransferProgress = std::function<void(int64_t done_bytes, int64_t total_bytes)>;

struct UploadModelOptions {
  std::string display_name;  // "" means the file's name
  TransferProgress progress;
};

struct DownloadOptions {
  TransferProgress progress;
  bool overwrite = true;  // false: ALREADY_EXISTS when the target file is there
};

struct Report {
  std::string json;  // report.json: docs/report.md
  std::string text;  // the same as a table
};

// Thread-safe. Methods block.
class Client {
 public:
  // Makes a client; the first call connects. INVALID_ARGUMENT for unreadable TLS files.
  static absl::StatusOr<std::unique_ptr<Client>> Connect(ClientOptions options);
  // A client over any stub: how decorators and tests come in.
  explicit Client(std::unique_ptr<Stub> stub, ClientOptions options);
  ~Client();

  // Uploads a file as a blob unless the server has it; resumes a broken upload.
  absl::StatusOr<v1::Blob> UploadFile(const std::string& path,
                                      const TransferProgress& progress = {});

  // Uploads an ONNX file with the external data files it names, and registers them as one model.
  // NOT_FOUND when a file is missing; INVALID_ARGUMENT when an external data path leaves the
  // model's folder.
  absl::StatusOr<v1::Model> UploadModel(const std::string& onnx_path,
                                        const UploadModelOptions& options);
  absl::StatusOr<v1::Dataset> UploadDataset(const std::string& path,
                                            const TransferProgress& progress = {});

  absl::StatusOr<v1::Model> GetModel(const std::string& name);
  absl::StatusOr<v1::ListModelsResponse> ListModels(int page_size = 0,
                                                    const std::string& page_token = "");
  absl::Status DeleteModel(const std::string& name);
  // {summary as JSON, text}. Waits until a worker has read the model.
  absl::StatusOr<Report> InspectModel(const std::string& name,
                                      const std::map<std::string, int64_t>& bindings = {});
  absl::StatusOr<v1::Dataset> GetDataset(const std::string& name);
  absl::StatusOr<v1::ListDatasetsResponse> ListDatasets(int page_size = 0,
                                                        const std::string& page_token = "");

  // Queues a job; a request id is made when none is given, so that a retry after a lost answer
  // gives the same job.
  absl::StatusOr<v1::Job> CreateJob(const v1::Job& job, const std::string& request_id = "");
  // Checks a job without queueing it.
  absl::Status ValidateJob(const v1::Job& job);
  absl::StatusOr<v1::Job> GetJob(const std::string& name);
  absl::StatusOr<v1::ListJobsResponse> ListJobs(const v1::ListJobsRequest& request);
  absl::StatusOr<v1::Job> CancelJob(const std::string& name);
  absl::StatusOr<v1::Job> RetryJob(const std::string& name, const std::string& request_id = "");
  absl::Status DeleteJob(const std::string& name);

  // Waits until the job has ended. DEADLINE_EXCEEDED after `timeout`.
  absl::StatusOr<v1::Job> WaitJob(const std::string& name, absl::Duration timeout);
  // Calls `on_event` for every event after `after_sequence` until the job has ended; goes on after
  // broken connections without losing or repeating an event. Returns the finished job. `on_event`
  // returning false stops with CANCELLED.
  absl::StatusOr<v1::Job> WatchJob(const std::string& name, int64_t after_sequence,
                                   const std::function<bool(const v1::JobEvent&)>& on_event);
  absl::Status StreamLogs(const std::string& name, bool follow,
                          const std::function<bool(const v1::JobLog&)>& on_line);
  absl::StatusOr<Report> GetReport(const std::string& job_name);

  // Saves a blob, resuming from a partial file; the digest is checked before `path` appears.
  absl::Status DownloadBlob(const std::string& digest, const std::string& path,
                            const DownloadOptions& options = {});
  // Saves a model's main file as `path` (or into it, when it is a folder) and its other files
  // beside it under their own names. Returns the paths written, main file first.
  absl::StatusOr<std::vector<std::string>> DownloadModel(const std::string& model_name,
                                                         const std::string& path,
                                                         const DownloadOptions& options = {});

  absl::StatusOr<v1::Capabilities> GetCapabilities();
  absl::StatusOr<v1::ListWorkersResponse> ListWorkers();

 private:
  absl::StatusOr<v1::Blob> UploadKnownFile(const std::string& path, const std::string& digest,
                                           int64_t size_bytes,
                                           const std::function<void(int64_t)>& progress);

  std::unique_ptr<Stub> stub_;
  ClientOptions options_;
};

// The reason a server gave for refusing a call: "REQUEST_ID_REUSED", "MODEL_NOT_FOUND",
// "BAD_REQUEST" and the like, stable for programs; "" when there is none.
std::string ErrorReason(const absl::Status& status);

// One field of a refused request and what is wrong with it.
struct FieldError {
  std::string field;  // path: "job.recipe.steps[1].quantize_weights.bits"
  std::string description;
};
std::vector<FieldError> FieldErrors(const absl::Status& status);

// Whether a job's state is one that never changes again.
bool IsFinished(v1::JobState state);
// "SUCCEEDED" for JOB_STATE_SUCCEEDED.
std::string StateName(v1::JobState state);
// "WORKER_OOM_KILLED" for JOB_ERROR_REASON_WORKER_OOM_KILLED.
std::string ReasonName(v1::JobErrorReason reason);

// The relative paths of the external data files that an ONNX file names (each once, sorted). Finds
// them by their encoding in the file, without parsing it: the client knows nothing of models.
// NOT_FOUND when the file cannot be read.
absl::StatusOr<std::vector<std::string>> ExternalDataPaths(const std::string& onnx_path);

}  // namespace lathe::client

#endif  // LATHE_CLIENT_CPP_INCLUDE_LATHE_CLIENT_H_
