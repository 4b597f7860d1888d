#include "worker/ort/ort_api.h"

#include <string>

namespace lathe::ort {
namespace {

absl::StatusCode CodeOf(int code) {
  switch (code) {
    case kInvalidArgument:
    case kInvalidProtobuf:
    case kInvalidGraph:
      return absl::StatusCode::kInvalidArgument;
    case kNoSuchFile:
      return absl::StatusCode::kNotFound;
    case kNotImplemented:
      return absl::StatusCode::kUnimplemented;
    default:
      return absl::StatusCode::kUnknown;
  }
}

}  // namespace

absl::Status Api::Take(OrtStatus* status) const {
  if (status == nullptr) return absl::OkStatus();
  const Owned<OrtStatus> owned = Own(*this, kReleaseStatus, status);
  const char* message = (*this)(kGetErrorMessage, static_cast<const OrtStatus*>(status));
  return absl::Status(CodeOf((*this)(kGetErrorCode, static_cast<const OrtStatus*>(status))),
                      message == nullptr ? "no message" : message);
}

}  // namespace lathe::ort
