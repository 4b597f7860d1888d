// SQLite's errors as a Status, at the one place where its exceptions end.
#ifndef LATHE_SERVER_STORE_SQLITE_ERROR_H_
#define LATHE_SERVER_STORE_SQLITE_ERROR_H_

#include "SQLiteCpp/Exception.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace lathe::server {

// `code` is a (primary or extended) SQLite result code, `system_errno` what the operating system
// said last, or 0. The codes are those of server/store/store.h; a violated constraint is
// ALREADY_EXISTS when it is a uniqueness one and INTERNAL otherwise.
absl::Status SqliteErrorToStatus(int code, int system_errno, absl::string_view message);

// Whether such a status came from storage rather than from what the caller asked for.
bool IsStorageFault(const absl::Status& status);

}  // namespace lathe::server

#endif  // LATHE_SERVER_STORE_SQLITE_ERROR_H_
