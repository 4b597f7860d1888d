#include "server/jobs/idempotency.h"

#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "common/status_reason.h"

namespace lathe::server {

absl::Status CheckRequestId(absl::string_view request_id) {
  if (request_id.size() <= static_cast<size_t>(limits::kMaxRequestIdBytes)) return absl::OkStatus();
  return WithField(absl::InvalidArgumentError(absl::StrCat("request_id must have at most ",
                                                           limits::kMaxRequestIdBytes,
                                                           " bytes, got ", request_id.size())),
                   "request_id");
}

absl::StatusOr<std::optional<std::string>> FindEarlier(ReadTransaction& tx, const RequestKey& key) {
  if (key.request_id.empty()) return std::optional<std::string>();
  ASSIGN_OR_RETURN(const std::optional<RequestRecord> found,
                   tx.FindRequest(key.scope, key.request_id));
  if (!found.has_value()) return std::optional<std::string>();
  if (found->fingerprint != key.fingerprint) {
    return WithField(WithReason(absl::InvalidArgumentError(absl::StrCat(
                                    "request_id \"", key.request_id,
                                    "\" was used before with another request body (it made ",
                                    found->resource, "); use a new request_id for a new request")),
                                "REQUEST_ID_REUSED"),
                     "request_id");
  }
  return std::optional<std::string>(found->resource);
}

absl::Status RememberRequest(WriteTransaction& tx, const RequestKey& key,
                             absl::string_view resource) {
  if (key.request_id.empty()) return absl::OkStatus();
  return tx.InsertRequest(key.scope, key.request_id,
                          RequestRecord{key.fingerprint, std::string(resource)});
}

absl::Status ResourceOfRequestIsGone(const RequestKey& key, absl::string_view resource) {
  return WithReason(
      absl::NotFoundError(absl::StrCat("request_id \"", key.request_id, "\" made ", resource,
                                       ", which was deleted since; use a new request_id")),
      "REQUEST_RESOURCE_DELETED");
}

}  // namespace lathe::server
