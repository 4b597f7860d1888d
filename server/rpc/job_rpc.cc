#include "server/rpc/job_rpc.h"

#include "absl/strings/str_cat.h"
#include "common/recipe/text.h"
#include "common/status_macros.h"
#include "proto/recipe_codec.h"
#include "server/rpc/report_blobs.h"
#include "server/rpc/validation.h"

namespace lathe::server {
namespace {

constexpr absl::Duration kLongestWait = absl::Minutes(10);
// How often a silent stream looks whether its client is still there.
constexpr absl::Duration kStreamPoll = absl::Seconds(5);

absl::Status CheckJobName(absl::string_view name) {
  Violations out;
  CheckName("name", "jobs", name, &out);
  return ToStatus(out);
}

}  // namespace

grpc::Status JobRpc::CreateJob(grpc::ServerContext* context, const v1::CreateJobRequest* request,
                               v1::Job* response) {
  return guard_->Run(context, "CreateJob", [&]() -> absl::Status {
    RETURN_IF_ERROR(CheckCreateJob(*request));
    CreateJobArgs args;
    args.job = request->job();
    args.recipe_json = CanonicalJson(RecipeFromProto(request->job().recipe()));
    args.request_id = request->request_id();
    args.validate_only = request->validate_only();
    ASSIGN_OR_RETURN(*response, jobs_->CreateJob(args));
    return absl::OkStatus();
  });
}

grpc::Status JobRpc::GetJob(grpc::ServerContext* context, const v1::GetJobRequest* request,
                            v1::Job* response) {
  return guard_->Run(context, "GetJob", [&]() -> absl::Status {
    RETURN_IF_ERROR(CheckJobName(request->name()));
    ASSIGN_OR_RETURN(*response, jobs_->GetJob(request->name()));
    return absl::OkStatus();
  });
}

grpc::Status JobRpc::ListJobs(grpc::ServerContext* context, const v1::ListJobsRequest* request,
                              v1::ListJobsResponse* response) {
  return guard_->Run(context, "ListJobs", [&]() -> absl::Status {
    Violations out;
    CheckPage(request->page_size(), &out);
    if (!v1::JobState_IsValid(request->state())) {
      out.push_back({"state", absl::StrCat("no job state has the number ",
                                           static_cast<int>(request->state()))});
    }
    if (!request->model().empty()) CheckName("model", "models", request->model(), &out);
    RETURN_IF_ERROR(ToStatus(out));
    ASSIGN_OR_RETURN(*response, jobs_->ListJobs(*request));
    return absl::OkStatus();
  });
}

grpc::Status JobRpc::CancelJob(grpc::ServerContext* context, const v1::CancelJobRequest* request,
                               v1::Job* response) {
  return guard_->Run(context, "CancelJob", [&]() -> absl::Status {
    RETURN_IF_ERROR(CheckJobName(request->name()));
    ASSIGN_OR_RETURN(*response, jobs_->CancelJob(request->name()));
    return absl::OkStatus();
  });
}

grpc::Status JobRpc::RetryJob(grpc::ServerContext* context, const v1::RetryJobRequest* request,
                              v1::Job* response) {
  return guard_->Run(context, "RetryJob", [&]() -> absl::Status {
    Violations out;
    CheckName("name", "jobs", request->name(), &out);
    CheckRequestId(request->request_id(), &out);
    RETURN_IF_ERROR(ToStatus(out));
    ASSIGN_OR_RETURN(*response, jobs_->RetryJob(request->name(), request->request_id()));
    return absl::OkStatus();
  });
}

grpc::Status JobRpc::DeleteJob(grpc::ServerContext* context, const v1::DeleteJobRequest* request,
                               v1::DeleteJobResponse*) {
  return guard_->Run(context, "DeleteJob", [&]() -> absl::Status {
    RETURN_IF_ERROR(CheckJobName(request->name()));
    return jobs_->DeleteJob(request->name());
  });
}

grpc::Status JobRpc::WaitJob(grpc::ServerContext* context, const v1::WaitJobRequest* request,
                             v1::Job* response) {
  return guard_->Run(context, "WaitJob", [&]() -> absl::Status {
    Violations out;
    CheckName("name", "jobs", request->name(), &out);
    absl::Duration timeout = absl::Seconds(60);
    if (request->has_timeout()) {
      timeout = absl::Seconds(request->timeout().seconds()) +
                absl::Nanoseconds(request->timeout().nanos());
      if (timeout < absl::ZeroDuration() || timeout > kLongestWait) {
        out.push_back({"timeout", absl::StrCat("must be in [0, 10 min], got ",
                                               absl::FormatDuration(timeout))});
      }
    }
    RETURN_IF_ERROR(ToStatus(out));
    ASSIGN_OR_RETURN(*response, jobs_->WaitJob(request->name(), WaitFor(context, timeout)));
    return absl::OkStatus();
  });
}

grpc::Status JobRpc::WatchJob(grpc::ServerContext* context, const v1::WatchJobRequest* request,
                              grpc::ServerWriter<v1::JobEvent>* writer) {
  return guard_->Run(context, "WatchJob", [&]() -> absl::Status {
    RETURN_IF_ERROR(CheckJobName(request->name()));
    int64_t after = request->after_sequence();
    while (true) {
      ASSIGN_OR_RETURN(const EventBatch batch,
                       jobs_->NextEvents(request->name(), after, WaitFor(context, kStreamPoll)));
      for (const v1::JobEvent& event : batch.events) {
        if (!writer->Write(event)) return absl::CancelledError("the client went away");
        after = event.sequence();
      }
      if (batch.ended) return absl::OkStatus();
      if (context->IsCancelled()) return absl::CancelledError("the client went away");
    }
  });
}

grpc::Status JobRpc::StreamLogs(grpc::ServerContext* context, const v1::StreamLogsRequest* request,
                                grpc::ServerWriter<v1::JobLog>* writer) {
  return guard_->Run(context, "StreamLogs", [&]() -> absl::Status {
    RETURN_IF_ERROR(CheckJobName(request->name()));
    int64_t after = request->after_sequence();
    const absl::Duration poll = request->follow() ? kStreamPoll : absl::ZeroDuration();
    while (true) {
      ASSIGN_OR_RETURN(const LogBatch batch,
                       jobs_->NextLogs(request->name(), after, WaitFor(context, poll)));
      for (const v1::JobLog& line : batch.lines) {
        if (!writer->Write(line)) return absl::CancelledError("the client went away");
        after = line.sequence();
      }
      if (batch.ended || (!request->follow() && batch.lines.empty())) return absl::OkStatus();
      if (context->IsCancelled()) return absl::CancelledError("the client went away");
    }
  });
}

grpc::Status JobRpc::GetReport(grpc::ServerContext* context, const v1::GetReportRequest* request,
                               v1::GetReportResponse* response) {
  return guard_->Run(context, "GetReport", [&]() -> absl::Status {
    RETURN_IF_ERROR(CheckJobName(request->name()));
    ASSIGN_OR_RETURN(const ReportDigests digests, jobs_->GetReport(request->name()));
    return ReadReport(*blobs_, digests.report_digest, digests.text_digest,
                      response->mutable_report(), response->mutable_text());
  });
}

}  // namespace lathe::server
