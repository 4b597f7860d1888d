#include "worker/engine/engine_status.h"

#include <exception>
#include <new>
#include <stdexcept>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_reason.h"

namespace lathe::engine {

absl::Status WithDefaultReason(absl::Status status, absl::string_view reason) {
  return ReasonOf(status).empty() ? WithReason(std::move(status), reason) : status;
}

absl::Status ModelError(absl::Status status) {
  switch (status.code()) {
    case absl::StatusCode::kInvalidArgument:
      return WithDefaultReason(std::move(status), "INVALID_MODEL");
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kOutOfRange:
      return WithDefaultReason(absl::InvalidArgumentError(status.message()), "INVALID_MODEL");
    case absl::StatusCode::kUnimplemented:
      return WithDefaultReason(std::move(status), "UNSUPPORTED_OP");
    default:
      return status;
  }
}

absl::Status CatchExceptions(const std::function<absl::Status()>& body) {
  try {
    return body();
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError(
        "out of memory; give the worker a higher --memory-limit-mb, or compress a smaller model");
  } catch (const std::length_error&) {
    return absl::ResourceExhaustedError(
        "out of memory: something larger than the address space was asked for");
  } catch (const std::exception& error) {
    return absl::InternalError(absl::StrCat("unexpected error (a bug in Lathe): ", error.what()));
  }
}

}  // namespace lathe::engine
