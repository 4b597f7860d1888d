#include "common/status_reason.h"

#include "absl/strings/cord.h"
#include "absl/types/optional.h"

namespace lathe {
namespace {

constexpr char kReasonUrl[] = "lathe/reason";
constexpr char kFieldUrl[] = "lathe/field";

absl::Status With(absl::Status status, absl::string_view url, absl::string_view value) {
  if (!status.ok()) status.SetPayload(url, absl::Cord(value));
  return status;
}

std::string Of(const absl::Status& status, absl::string_view url) {
  const absl::optional<absl::Cord> payload = status.GetPayload(url);
  return payload.has_value() ? std::string(*payload) : "";
}

}  // namespace

absl::Status WithReason(absl::Status status, absl::string_view reason) {
  return With(std::move(status), kReasonUrl, reason);
}

absl::Status WithField(absl::Status status, absl::string_view field) {
  return With(std::move(status), kFieldUrl, field);
}

std::string ReasonOf(const absl::Status& status) { return Of(status, kReasonUrl); }
std::string FieldOf(const absl::Status& status) { return Of(status, kFieldUrl); }

}  // namespace lathe
