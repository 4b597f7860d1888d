// One SQLite connection with its prepared statements.
#ifndef LATHE_SERVER_STORE_SQLITE_CONNECTION_H_
#define LATHE_SERVER_STORE_SQLITE_CONNECTION_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "SQLiteCpp/Database.h"
#include "SQLiteCpp/Statement.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace lathe::server {

// Not thread-safe. Its methods throw SQLite::Exception; ToStatus turns that into a Status.
class SqliteConnection {
 public:
  enum class Role { kWriter, kReader };
  // Opens (a writer also creates) the database and sets what every connection needs: WAL,
  // synchronous=FULL, foreign keys, a busy timeout. Does not migrate.
  static absl::StatusOr<std::unique_ptr<SqliteConnection>> Open(const std::string& path, Role role,
                                                                absl::Duration busy_timeout);

  SQLite::Database& db() { return db_; }
  // False when SQLite has rolled the transaction back by itself, or none was begun.
  bool InTransaction() const;
  // Prepared once a connection. `sql` must be a literal: its address is the key.
  SQLite::Statement& Prepared(const char* sql);
  // Runs a statement without result.
  void Run(const char* sql);

  absl::Status ToStatus(const SQLite::Exception& e) const;

  // Keeps the system's error number of a statement that just failed: SQLite's own note of it, or
  // `errno` as it was left, because SQLite does not note it for every failed write. It is what
  // tells a full disk or quota from a broken one.
  void NoteSystemError(int last_errno);

 private:
  SqliteConnection(const std::string& path, int flags, absl::Duration busy_timeout);

  SQLite::Database db_;
  std::map<const char*, std::unique_ptr<SQLite::Statement>> statements_;
  int system_errno_ = 0;
};

// One use of a prepared statement: binds in order, steps, and resets when it goes out of scope, so
// that no read stays open. Bound strings are copied.
class Query {
 public:
  template <typename... Args>
  Query(SqliteConnection& connection, const char* sql, const Args&... args)
      : connection_(connection), statement_(connection.Prepared(sql)) {
    int index = 0;
    (Bind(++index, args), ...);
  }
  ~Query();
  Query(const Query&) = delete;
  Query& operator=(const Query&) = delete;

  // True when there is a row.
  bool Step();
  // Runs a statement that gives no rows; how many rows it changed.
  int Exec();

  int64_t Int(int column) const { return statement_.getColumn(column).getInt64(); }
  std::string Text(int column) const { return statement_.getColumn(column).getString(); }
  // Bytes of a blob, valid until the next Step.
  absl::string_view Blob(int column) const;

 private:
  void Bind(int index, int value) { statement_.bind(index, value); }
  void Bind(int index, int64_t value) { statement_.bind(index, value); }
  void Bind(int index, absl::string_view text);
  void Bind(int index, const std::string& text) { Bind(index, absl::string_view(text)); }
  void Bind(int index, const char* text) { Bind(index, absl::string_view(text)); }
  struct Bytes {
    const std::string& data;
  };
  void Bind(int index, const Bytes& bytes);

  SqliteConnection& connection_;
  SQLite::Statement& statement_;

 public:
  // Marks an argument as a blob.
  static Bytes AsBlob(const std::string& data) { return Bytes{data}; }
};

}  // namespace lathe::server

#endif  // LATHE_SERVER_STORE_SQLITE_CONNECTION_H_
