// Between absl::Status and grpc::Status, with google.rpc error details (AIP-193) on the wire.
#ifndef LATHE_PROTO_GRPC_STATUS_H_
#define LATHE_PROTO_GRPC_STATUS_H_

#include <grpcpp/support/status.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace lathe {

// Details ride on an absl::Status as payloads until it becomes a grpc::Status; the reason is
// common/status_reason.h's.

// INVALID_ARGUMENT whose message lists the violations and whose details carry them: {field path,
// description}.
absl::Status BadRequestError(const std::vector<std::pair<std::string, std::string>>& violations);

// The violations of a BadRequestError, also after it has crossed the wire; empty for another
// status.
std::vector<std::pair<std::string, std::string>> FieldViolations(const absl::Status& status);

// FAILED_PRECONDITION naming what is missing: {subject, description}; the reason is `type`.
absl::Status PreconditionError(absl::string_view type,
                               const std::vector<std::pair<std::string, std::string>>& violations);

// RESOURCE_EXHAUSTED with a QuotaFailure and, when positive, a RetryInfo.
absl::Status QuotaError(absl::string_view subject, absl::string_view description,
                        absl::Duration retry_delay);

// For the wire: code, message, and the details of the above. Reasons of status payloads
// "lathe/reason" are kept.
grpc::Status ToGrpcStatus(const absl::Status& status);

// Back again: the reason and the details become payloads; the message stays the server's.
absl::Status FromGrpcStatus(const grpc::Status& status);

}  // namespace lathe

#endif  // LATHE_PROTO_GRPC_STATUS_H_
