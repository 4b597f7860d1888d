#include "server/store/sqlite_error.h"

#include <sqlite3.h>

#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/status_reason.h"

namespace lathe::server {
namespace {

constexpr char kFull[] = "STORAGE_FULL";
constexpr char kUnavailable[] = "STORAGE_UNAVAILABLE";
constexpr char kCorrupt[] = "STORAGE_CORRUPT";

bool IsNoSpace(int error) { return error == ENOSPC || error == EDQUOT || error == EFBIG; }

}  // namespace

absl::Status SqliteErrorToStatus(int code, int system_errno, absl::string_view message) {
  const int primary = code & 0xff;
  std::string text = absl::StrCat("metadata store: ", message, " (SQLite code ", code);
  if (system_errno != 0 && primary == SQLITE_IOERR) {
    absl::StrAppend(&text, ", ", std::strerror(system_errno));
  }
  absl::StrAppend(&text, ")");
  switch (primary) {
    case SQLITE_IOERR:
      if (!IsNoSpace(system_errno)) {
        return WithReason(
            absl::UnavailableError(absl::StrCat(text, "; nothing was changed, try again")),
            kUnavailable);
      }
      [[fallthrough]];
    case SQLITE_FULL:
      return WithReason(
          absl::ResourceExhaustedError(absl::StrCat(
              text, "; nothing was changed: free space on the disk of --data-dir and try again")),
          kFull);
    case SQLITE_NOMEM:
    case SQLITE_TOOBIG:
      return WithReason(absl::ResourceExhaustedError(text), kFull);
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return WithReason(
          absl::DataLossError(absl::StrCat(text, "; restore the data directory from a backup")),
          kCorrupt);
    case SQLITE_CONSTRAINT:
      if (code == SQLITE_CONSTRAINT_UNIQUE || code == SQLITE_CONSTRAINT_PRIMARYKEY) {
        return absl::AlreadyExistsError(text);
      }
      return absl::InternalError(text);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_PROTOCOL:
    case SQLITE_INTERRUPT:
      return WithReason(
          absl::UnavailableError(absl::StrCat(text, "; nothing was changed, try again")),
          kUnavailable);
    default:
      return absl::InternalError(text);
  }
}

bool IsStorageFault(const absl::Status& status) {
  const std::string reason = ReasonOf(status);
  return reason == kFull || reason == kUnavailable || reason == kCorrupt;
}

}  // namespace lathe::server
