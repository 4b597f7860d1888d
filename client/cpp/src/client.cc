#include "lathe/client.h"

#include <google/protobuf/util/json_util.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "client/cpp/src/stub.h"
#include "common/ids.h"
#include "common/status_macros.h"
#include "common/status_reason.h"
#include "proto/grpc_status.h"

namespace lathe::client {
namespace {

std::string NewRequestId() {
  static RandomIdGenerator* ids = new RandomIdGenerator;
  return ids->NewId();
}

// Long polls are short enough to notice a cancelled caller and a dead connection soon.
constexpr absl::Duration kPoll = absl::Seconds(20);

absl::StatusOr<std::string> StructToJson(const google::protobuf::Struct& value) {
  std::string json;
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = true;
  const auto status = google::protobuf::util::MessageToJsonString(value, &json, options);
  if (!status.ok()) return absl::InternalError("the server sent a report that is not JSON");
  return json;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Client>> Client::Connect(ClientOptions options) {
  ASSIGN_OR_RETURN(std::unique_ptr<Stub> stub, MakeGrpcStub(options));
  return std::make_unique<Client>(MakeRetryStub(std::move(stub), options), options);
}

Client::Client(std::unique_ptr<Stub> stub, ClientOptions options)
    : stub_(std::move(stub)), options_(std::move(options)) {}
Client::~Client() = default;

absl::StatusOr<v1::Model> Client::GetModel(const std::string& name) {
  v1::GetModelRequest request;
  request.set_name(name);
  return stub_->GetModel(request);
}

absl::StatusOr<v1::ListModelsResponse> Client::ListModels(int page_size,
                                                          const std::string& page_token) {
  v1::ListModelsRequest request;
  request.set_page_size(page_size);
  request.set_page_token(page_token);
  return stub_->ListModels(request);
}

absl::Status Client::DeleteModel(const std::string& name) {
  v1::DeleteModelRequest request;
  request.set_name(name);
  return stub_->DeleteModel(request).status();
}

absl::StatusOr<Report> Client::InspectModel(const std::string& name,
                                            const std::map<std::string, int64_t>& bindings) {
  v1::InspectModelRequest request;
  request.set_name(name);
  for (const auto& [symbol, size] : bindings) (*request.mutable_bindings())[symbol] = size;
  ASSIGN_OR_RETURN(const v1::InspectModelResponse answer, stub_->InspectModel(request));
  Report report;
  ASSIGN_OR_RETURN(report.json, StructToJson(answer.summary()));
  report.text = answer.text();
  return report;
}

absl::StatusOr<v1::Dataset> Client::GetDataset(const std::string& name) {
  v1::GetDatasetRequest request;
  request.set_name(name);
  return stub_->GetDataset(request);
}

absl::StatusOr<v1::ListDatasetsResponse> Client::ListDatasets(int page_size,
                                                              const std::string& page_token) {
  v1::ListDatasetsRequest request;
  request.set_page_size(page_size);
  request.set_page_token(page_token);
  return stub_->ListDatasets(request);
}

absl::StatusOr<v1::Job> Client::CreateJob(const v1::Job& job, const std::string& request_id) {
  v1::CreateJobRequest request;
  *request.mutable_job() = job;
  request.set_request_id(request_id.empty() ? NewRequestId() : request_id);
  return stub_->CreateJob(request);
}

absl::Status Client::ValidateJob(const v1::Job& job) {
  v1::CreateJobRequest request;
  *request.mutable_job() = job;
  request.set_validate_only(true);
  return stub_->CreateJob(request).status();
}

absl::StatusOr<v1::Job> Client::GetJob(const std::string& name) {
  v1::GetJobRequest request;
  request.set_name(name);
  return stub_->GetJob(request);
}

absl::StatusOr<v1::ListJobsResponse> Client::ListJobs(const v1::ListJobsRequest& request) {
  return stub_->ListJobs(request);
}

absl::StatusOr<v1::Job> Client::CancelJob(const std::string& name) {
  v1::CancelJobRequest request;
  request.set_name(name);
  return stub_->CancelJob(request);
}

absl::StatusOr<v1::Job> Client::RetryJob(const std::string& name, const std::string& request_id) {
  v1::RetryJobRequest request;
  request.set_name(name);
  request.set_request_id(request_id.empty() ? NewRequestId() : request_id);
  return stub_->RetryJob(request);
}

absl::Status Client::DeleteJob(const std::string& name) {
  v1::DeleteJobRequest request;
  request.set_name(name);
  return stub_->DeleteJob(request).status();
}

absl::StatusOr<v1::Job> Client::WaitJob(const std::string& name, absl::Duration timeout) {
  const absl::Time give_up = absl::Now() + timeout;
  while (true) {
    const absl::Duration left = give_up - absl::Now();
    const absl::Duration poll = std::max(absl::ZeroDuration(), std::min(left, kPoll));
    v1::WaitJobRequest request;
    request.set_name(name);
    request.mutable_timeout()->set_seconds(absl::ToInt64Seconds(poll));
    request.mutable_timeout()->set_nanos(
        static_cast<int>(absl::ToInt64Nanoseconds(poll % absl::Seconds(1))));
    ASSIGN_OR_RETURN(v1::Job job, stub_->WaitJob(request));
    if (IsFinished(job.state())) return job;
    if (options_.cancelled && options_.cancelled())
      return absl::CancelledError("stopped by the caller");
    if (absl::Now() >= give_up) {
      return absl::DeadlineExceededError(absl::StrCat(name, " is still ", StateName(job.state()),
                                                      " after ", absl::FormatDuration(timeout)));
    }
  }
}

absl::StatusOr<v1::Job> Client::WatchJob(const std::string& name, int64_t after_sequence,
                                         const std::function<bool(const v1::JobEvent&)>& on_event) {
  Backoff backoff(options_, stub_.get());
  while (true) {
    v1::WatchJobRequest request;
    request.set_name(name);
    request.set_after_sequence(after_sequence);
    const absl::Status status = stub_->WatchJob(request, [&](const v1::JobEvent& event) {
      after_sequence = std::max(after_sequence, event.sequence());
      backoff.Reset();
      return on_event(event);
    });
    if (status.ok()) {
      ASSIGN_OR_RETURN(v1::Job job, GetJob(name));
      if (IsFinished(job.state())) return job;
      // The server closed the stream early (it is draining): go on watching.
      if (backoff.Wait("WatchJob", absl::UnavailableError("the stream ended early"))) continue;
      return absl::UnavailableError(absl::StrCat("the server stopped the watch on ", name));
    }
    if (!IsTransient(status) || !backoff.Wait("WatchJob", status)) return status;
  }
}

absl::Status Client::StreamLogs(const std::string& name, bool follow,
                                const std::function<bool(const v1::JobLog&)>& on_line) {
  Backoff backoff(options_, stub_.get());
  int64_t after_sequence = 0;
  while (true) {
    v1::StreamLogsRequest request;
    request.set_name(name);
    request.set_follow(follow);
    request.set_after_sequence(after_sequence);
    const absl::Status status = stub_->StreamLogs(request, [&](const v1::JobLog& line) {
      after_sequence = std::max(after_sequence, line.sequence());
      backoff.Reset();
      return on_line(line);
    });
    if (status.ok() || !IsTransient(status) || !backoff.Wait("StreamLogs", status)) return status;
  }
}

absl::StatusOr<Report> Client::GetReport(const std::string& job_name) {
  v1::GetReportRequest request;
  request.set_name(job_name);
  ASSIGN_OR_RETURN(const v1::GetReportResponse answer, stub_->GetReport(request));
  Report report;
  ASSIGN_OR_RETURN(report.json, StructToJson(answer.report()));
  report.text = answer.text();
  return report;
}

absl::StatusOr<v1::Capabilities> Client::GetCapabilities() { return stub_->GetCapabilities({}); }
absl::StatusOr<v1::ListWorkersResponse> Client::ListWorkers() { return stub_->ListWorkers({}); }

std::string ErrorReason(const absl::Status& status) { return ReasonOf(status); }

std::vector<FieldError> FieldErrors(const absl::Status& status) {
  std::vector<FieldError> out;
  for (const auto& [field, description] : FieldViolations(status))
    out.push_back({field, description});
  return out;
}

bool IsFinished(v1::JobState state) {
  return state == v1::JOB_STATE_SUCCEEDED || state == v1::JOB_STATE_FAILED ||
         state == v1::JOB_STATE_CANCELLED;
}

std::string StateName(v1::JobState state) {
  return std::string(absl::StripPrefix(v1::JobState_Name(state), "JOB_STATE_"));
}

std::string ReasonName(v1::JobErrorReason reason) {
  return std::string(absl::StripPrefix(v1::JobErrorReason_Name(reason), "JOB_ERROR_REASON_"));
}

}  // namespace lathe::client
