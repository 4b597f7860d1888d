#include "server/store/sqlite_connection.h"

#include <sqlite3.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "server/store/sqlite_error.h"

namespace lathe::server {

SqliteConnection::SqliteConnection(const std::string& path, int flags, absl::Duration busy_timeout)
    : db_(path, flags, static_cast<int>(absl::ToInt64Milliseconds(busy_timeout))) {
  sqlite3_extended_result_codes(db_.getHandle(), 1);
}

absl::StatusOr<std::unique_ptr<SqliteConnection>> SqliteConnection::Open(
    const std::string& path, Role role, absl::Duration busy_timeout) {
  // Each connection is used by one thread at a time, so SQLite's own mutexes are not needed. A
  // reader also needs write access to the shared-memory file of the WAL; query_only keeps it from
  // changing anything.
  int flags = SQLite::OPEN_READWRITE | SQLite::OPEN_NOMUTEX;
  if (role == Role::kWriter) flags |= SQLite::OPEN_CREATE;
  try {
    auto connection =
        std::unique_ptr<SqliteConnection>(new SqliteConnection(path, flags, busy_timeout));
    try {
      SQLite::Database& db = connection->db_;
      if (role == Role::kWriter) {
        db.execAndGet("PRAGMA journal_mode = WAL");
        // Checkpoints are the store's: after it has answered, not inside a commit.
        db.exec("PRAGMA wal_autocheckpoint = 0");
        db.exec("PRAGMA journal_size_limit = 67108864");
        db.exec("PRAGMA secure_delete = OFF");
      } else {
        db.exec("PRAGMA query_only = ON");
      }
      db.exec("PRAGMA synchronous = FULL");
      db.exec("PRAGMA foreign_keys = ON");
      db.exec("PRAGMA temp_store = MEMORY");
      db.exec("PRAGMA cache_size = -16384");
      // Untrusted or damaged schemas must not run functions.
      db.exec("PRAGMA trusted_schema = OFF");
    } catch (const SQLite::Exception& e) {
      return connection->ToStatus(e);
    }
    return connection;
  } catch (const SQLite::Exception& e) {
    return SqliteErrorToStatus(e.getExtendedErrorCode(), 0,
                               absl::StrCat("cannot open ", path, ": ", e.what()));
  }
}

bool SqliteConnection::InTransaction() const {
  return sqlite3_get_autocommit(db_.getHandle()) == 0;
}

SQLite::Statement& SqliteConnection::Prepared(const char* sql) {
  std::unique_ptr<SQLite::Statement>& statement = statements_[sql];
  if (statement == nullptr) statement = std::make_unique<SQLite::Statement>(db_, sql);
  return *statement;
}

void SqliteConnection::Run(const char* sql) { Query(*this, sql).Exec(); }

absl::Status SqliteConnection::ToStatus(const SQLite::Exception& e) const {
  return SqliteErrorToStatus(e.getExtendedErrorCode(), system_errno_, e.what());
}

void SqliteConnection::NoteSystemError(int last_errno) {
  const int noted = sqlite3_system_errno(db_.getHandle());
  system_errno_ = noted != 0 ? noted : last_errno;
}

bool Query::Step() {
  errno = 0;
  try {
    return statement_.executeStep();
  } catch (const SQLite::Exception&) {
    connection_.NoteSystemError(errno);
    throw;
  }
}

int Query::Exec() {
  errno = 0;
  try {
    return statement_.exec();
  } catch (const SQLite::Exception&) {
    connection_.NoteSystemError(errno);
    throw;
  }
}

Query::~Query() {
  // tryReset rather than reset: a failed step makes reset report the same error again.
  statement_.tryReset();
  try {
    statement_.clearBindings();
  } catch (const SQLite::Exception&) {
    // Bindings only hold memory; the next use binds every parameter anew.
  }
}

absl::string_view Query::Blob(int column) const {
  const SQLite::Column value = statement_.getColumn(column);
  const void* data = value.getBlob();
  return absl::string_view(static_cast<const char*>(data), value.getBytes());
}

void Query::Bind(int index, absl::string_view text) {
  // An empty view may have no address, which SQLite takes for NULL.
  statement_.bind(index, std::string(text));
}

void Query::Bind(int index, const Bytes& bytes) {
  statement_.bind(index, static_cast<const void*>(bytes.data.data()),
                  static_cast<int>(bytes.data.size()));
}

}  // namespace lathe::server
