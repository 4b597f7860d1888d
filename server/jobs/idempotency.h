// Repeated requests: one request id, one resource.
#ifndef LATHE_SERVER_JOBS_IDEMPOTENCY_H_
#define LATHE_SERVER_JOBS_IDEMPOTENCY_H_

#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/store/store.h"

namespace lathe::server {

// What a request is known by. `scope` is the tenant and the method ("/CreateJob"), `fingerprint`
// the digest of its body.
struct RequestKey {
  std::string scope;
  std::string request_id;  // "": not idempotent
  std::string fingerprint;
};

// INVALID_ARGUMENT (field request_id) when it is too long.
absl::Status CheckRequestId(absl::string_view request_id);

// The name of the resource that the same request made before; nullopt when it is new.
// INVALID_ARGUMENT (reason REQUEST_ID_REUSED) when the id was used with another body.
absl::StatusOr<std::optional<std::string>> FindEarlier(ReadTransaction& tx, const RequestKey& key);

// Keeps the request; nothing without an id.
absl::Status RememberRequest(WriteTransaction& tx, const RequestKey& key,
                             absl::string_view resource);

// NOT_FOUND (reason REQUEST_RESOURCE_DELETED): the answer to a repeated request whose resource was
// deleted since.
absl::Status ResourceOfRequestIsGone(const RequestKey& key, absl::string_view resource);

}  // namespace lathe::server

#endif  // LATHE_SERVER_JOBS_IDEMPOTENCY_H_
