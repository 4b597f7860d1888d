#include "server/rpc/worker_rpc.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/build_info.h"
#include "common/limits.h"
#include "common/recipe/catalogue.h"
#include "common/status_macros.h"
#include "server/rpc/validation.h"

namespace lathe::server {
namespace {

constexpr absl::Duration kLongestHold = absl::Seconds(30);

std::string Show(const ParamValue& value) {
  if (const bool* b = std::get_if<bool>(&value)) return *b ? "true" : "false";
  if (const int64_t* i = std::get_if<int64_t>(&value)) return absl::StrCat(*i);
  if (const double* d = std::get_if<double>(&value)) return absl::StrCat(*d);
  if (const std::string* s = std::get_if<std::string>(&value)) return *s;
  if (const auto* numbers = std::get_if<std::vector<double>>(&value)) {
    return absl::StrCat("[", absl::StrJoin(*numbers, ", "), "]");
  }
  return absl::StrCat("[", absl::StrJoin(std::get<std::vector<std::string>>(value), ", "), "]");
}

v1::Method Describe(const MethodSpec& method) {
  v1::Method out;
  out.set_name(method.name);
  out.set_description(method.description);
  for (const ParamSpec& spec : method.params) {
    v1::Parameter* p = out.add_parameters();
    p->set_name(spec.name);
    p->set_type(std::string(ParamTypeName(spec.type)));
    p->set_description(spec.description);
    p->set_unit(spec.unit);
    p->set_range(spec.RangeText());
    if (spec.default_value) p->set_default_value(Show(*spec.default_value));
    for (const std::string& choice : spec.choices) p->add_choices(choice);
    for (const int64_t choice : spec.int_choices) p->add_choices(absl::StrCat(choice));
    if (std::isfinite(spec.minimum)) p->set_minimum(spec.minimum);
    if (std::isfinite(spec.maximum)) p->set_maximum(spec.maximum);
  }
  return out;
}

}  // namespace

grpc::Status WorkerRpc::ListWorkers(grpc::ServerContext* context, const v1::ListWorkersRequest*,
                                    v1::ListWorkersResponse* response) {
  return guard_->Run(context, "ListWorkers", [&]() -> absl::Status {
    *response = jobs_->ListWorkers();
    return absl::OkStatus();
  });
}

grpc::Status WorkerRpc::Synchronize(grpc::ServerContext* context,
                                    const v1::SynchronizeRequest* request,
                                    v1::SynchronizeResponse* response) {
  return guard_->Run(context, "Synchronize", [&]() -> absl::Status {
    const absl::Duration hold = absl::Seconds(request->max_wait().seconds()) +
                                absl::Nanoseconds(request->max_wait().nanos());
    if (hold < absl::ZeroDuration() || hold > kLongestHold) {
      return ToStatus(
          {{"max_wait", absl::StrCat("must be in [0, 30 s], got ", absl::FormatDuration(hold))}});
    }
    ASSIGN_OR_RETURN(*response, jobs_->Synchronize(*request, WaitFor(context, hold)));
    return absl::OkStatus();
  });
}

grpc::Status WorkerRpc::CompleteAttempt(grpc::ServerContext* context,
                                        const v1::CompleteAttemptRequest* request,
                                        v1::CompleteAttemptResponse* response) {
  return guard_->Run(context, "CompleteAttempt", [&]() -> absl::Status {
    ASSIGN_OR_RETURN(*response, jobs_->CompleteAttempt(*request));
    return absl::OkStatus();
  });
}

grpc::Status WorkerRpc::SaveCheckpoint(grpc::ServerContext* context,
                                       const v1::SaveCheckpointRequest* request,
                                       v1::SaveCheckpointResponse* response) {
  return guard_->Run(context, "SaveCheckpoint", [&]() -> absl::Status {
    Violations out;
    CheckName("job", "jobs", request->job(), &out);
    CheckDigest("digest", request->digest(), &out);
    RETURN_IF_ERROR(ToStatus(out));
    ASSIGN_OR_RETURN(*response, jobs_->SaveCheckpoint(*request));
    return absl::OkStatus();
  });
}

grpc::Status CapabilityRpc::GetCapabilities(grpc::ServerContext* context,
                                            const v1::GetCapabilitiesRequest*,
                                            v1::Capabilities* response) {
  return guard_->Run(context, "GetCapabilities", [&]() -> absl::Status {
    response->set_version(Version());
    response->set_build_id(BuildId());
    for (const MethodSpec& method : Catalogue()) *response->add_methods() = Describe(method);
    for (const MethodSpec& section : Sections()) *response->add_sections() = Describe(section);
    v1::Limits* out = response->mutable_limits();
    out->set_max_inline_bytes(limits::kMaxInlineBytes);
    out->set_max_message_bytes(limits::kMaxMessageBytes);
    out->set_max_blob_bytes(limits::kMaxBlobBytes);
    out->set_upload_chunk_bytes(limits::kUploadChunkBytes);
    out->set_max_steps(limits::kMaxSteps);
    out->set_max_model_files(limits::kMaxModelFiles);
    out->set_max_page_size(limits::kMaxPageSize);
    out->set_max_attempts(max_attempts_);
    return absl::OkStatus();
  });
}

}  // namespace lathe::server
