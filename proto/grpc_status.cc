#include "proto/grpc_status.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/status_reason.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace lathe {
namespace {

constexpr char kDomain[] = "lathe";
// A google.rpc.Status without the ErrorInfo, serialized: the details that are messages.
constexpr char kDetailsPayload[] = "lathe/details";
// gRPC caps trailing metadata at 8 KiB by default; longer messages and details are cut rather than
// losing the status.
constexpr size_t kMaxMessageBytes = 2000;
constexpr size_t kMaxDetailsBytes = 4000;

void AddDetail(absl::Status& status, const google::protobuf::Message& detail) {
  google::rpc::Status details;
  if (auto payload = status.GetPayload(kDetailsPayload))
    details.ParseFromString(std::string(*payload));
  details.add_details()->PackFrom(detail);
  status.SetPayload(kDetailsPayload, absl::Cord(details.SerializeAsString()));
}

}  // namespace

absl::Status BadRequestError(const std::vector<std::pair<std::string, std::string>>& violations) {
  google::rpc::BadRequest detail;
  std::vector<std::string> lines;
  for (const auto& [field, description] : violations) {
    auto* violation = detail.add_field_violations();
    violation->set_field(field);
    violation->set_description(description);
    lines.push_back(field.empty() ? description : absl::StrCat(field, ": ", description));
  }
  absl::Status status = absl::InvalidArgumentError(absl::StrJoin(lines, "\n"));
  AddDetail(status, detail);
  return WithReason(std::move(status), "BAD_REQUEST");
}

std::vector<std::pair<std::string, std::string>> FieldViolations(const absl::Status& status) {
  std::vector<std::pair<std::string, std::string>> out;
  const auto payload = status.GetPayload(kDetailsPayload);
  google::rpc::Status details;
  if (!payload || !details.ParseFromString(std::string(*payload))) return out;
  for (const google::protobuf::Any& detail : details.details()) {
    google::rpc::BadRequest bad_request;
    if (!detail.UnpackTo(&bad_request)) continue;
    for (const auto& violation : bad_request.field_violations())
      out.push_back({violation.field(), violation.description()});
  }
  return out;
}

absl::Status PreconditionError(absl::string_view type,
                               const std::vector<std::pair<std::string, std::string>>& violations) {
  google::rpc::PreconditionFailure detail;
  std::vector<std::string> lines;
  for (const auto& [subject, description] : violations) {
    auto* violation = detail.add_violations();
    violation->set_type(std::string(type));
    violation->set_subject(subject);
    violation->set_description(description);
    lines.push_back(absl::StrCat(subject, ": ", description));
  }
  absl::Status status = absl::FailedPreconditionError(absl::StrJoin(lines, "\n"));
  AddDetail(status, detail);
  return WithReason(std::move(status), type);
}

absl::Status QuotaError(absl::string_view subject, absl::string_view description,
                        absl::Duration retry_delay) {
  google::rpc::QuotaFailure detail;
  detail.add_violations()->set_subject(std::string(subject));
  detail.mutable_violations(0)->set_description(std::string(description));
  absl::Status status = absl::ResourceExhaustedError(absl::StrCat(subject, ": ", description));
  AddDetail(status, detail);
  if (retry_delay > absl::ZeroDuration()) {
    google::rpc::RetryInfo retry;
    retry.mutable_retry_delay()->set_seconds(absl::ToInt64Seconds(retry_delay));
    retry.mutable_retry_delay()->set_nanos(
        static_cast<int>(absl::ToInt64Nanoseconds(retry_delay % absl::Seconds(1))));
    AddDetail(status, retry);
  }
  return WithReason(std::move(status), "QUOTA");
}

grpc::Status ToGrpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  std::string message(status.message());
  if (message.size() > kMaxMessageBytes)
    message = absl::StrCat(message.substr(0, kMaxMessageBytes), " ... (cut)");
  google::rpc::Status wire;
  if (const std::string reason = ReasonOf(status); !reason.empty()) {
    google::rpc::ErrorInfo info;
    info.set_reason(reason);
    info.set_domain(kDomain);
    wire.add_details()->PackFrom(info);
  }
  if (auto payload = status.GetPayload(kDetailsPayload)) {
    google::rpc::Status details;
    if (details.ParseFromString(std::string(*payload))) wire.MergeFrom(details);
  }
  // Clients in Go and Java, grpcurl among them, show this message instead of the status's own.
  wire.set_message(message);
  while (wire.details_size() > 0 && wire.ByteSizeLong() > kMaxDetailsBytes)
    wire.mutable_details()->RemoveLast();
  wire.set_code(static_cast<int>(status.code()));
  const std::string details = wire.details_size() > 0 ? wire.SerializeAsString() : "";
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), message, details);
}

absl::Status FromGrpcStatus(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  const int code = static_cast<int>(status.error_code());
  absl::Status out(
      code >= 1 && code <= 16 ? static_cast<absl::StatusCode>(code) : absl::StatusCode::kUnknown,
      status.error_message());
  google::rpc::Status wire;
  if (!status.error_details().empty() && wire.ParseFromString(status.error_details())) {
    google::rpc::Status rest;
    for (const google::protobuf::Any& detail : wire.details()) {
      google::rpc::ErrorInfo info;
      if (detail.UnpackTo(&info)) {
        if (info.domain() == kDomain) out = WithReason(std::move(out), info.reason());
      } else {
        *rest.add_details() = detail;
      }
    }
    if (rest.details_size() > 0)
      out.SetPayload(kDetailsPayload, absl::Cord(rest.SerializeAsString()));
  }
  return out;
}

}  // namespace lathe
