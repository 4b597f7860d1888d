// A machine-readable reason on a Status. Whoever finds the error names it; the edges carry it on:
// proto/grpc_status.h as google.rpc.ErrorInfo, the job process in its event, the agent as a
// JobErrorReason.
#ifndef LATHE_COMMON_STATUS_REASON_H_
#define LATHE_COMMON_STATUS_REASON_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace lathe {

// Adds an upper-case reason ("MODEL_NOT_FOUND") to a status that is not OK; an OK status stays as
// it is.
absl::Status WithReason(absl::Status status, absl::string_view reason);
// Adds the path of the offending request field ("job.datasets[1].dataset").
absl::Status WithField(absl::Status status, absl::string_view field);

// The reason or field, or "" when there is none.
std::string ReasonOf(const absl::Status& status);
std::string FieldOf(const absl::Status& status);

}  // namespace lathe

#endif  // LATHE_COMMON_STATUS_REASON_H_
