// A machine-readable reason on a Status, for google.rpc.ErrorInfo and BadRequest at the RPC
// boundary. The domain layers name the reason; server/rpc turns it into details.
#ifndef LATHE_SERVER_STORE_STATUS_REASON_H_
#define LATHE_SERVER_STORE_STATUS_REASON_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace lathe::server {

// Adds an upper-case reason ("MODEL_NOT_FOUND") to a status that is not OK; an OK status stays as
// it is.
absl::Status WithReason(absl::Status status, absl::string_view reason);
// Adds the path of the offending request field ("job.datasets[1].dataset").
absl::Status WithField(absl::Status status, absl::string_view field);

// The reason or field, or "" when there is none.
std::string ReasonOf(const absl::Status& status);
std::string FieldOf(const absl::Status& status);

}  // namespace lathe::server

#endif  // LATHE_SERVER_STORE_STATUS_REASON_H_
