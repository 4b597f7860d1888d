// The database's tables, as numbered steps from nothing to now.
#ifndef LATHE_SERVER_STORE_MIGRATIONS_H_
#define LATHE_SERVER_STORE_MIGRATIONS_H_

#include <span>

#include "SQLiteCpp/Database.h"
#include "absl/status/status.h"

namespace lathe::server {

// Step number i + 1 is entry i: SQL statements that bring a database of version i to version i + 1.
// Released steps never change; a change of the tables is a new entry.
std::span<const char* const> Migrations();

// Brings `db` to version steps.size(), each step in a transaction of its own that also records the
// version (PRAGMA user_version). FAILED_PRECONDITION when the database is newer, or belongs to
// another program (PRAGMA application_id).
absl::Status Migrate(SQLite::Database& db, std::span<const char* const> steps);

}  // namespace lathe::server

#endif  // LATHE_SERVER_STORE_MIGRATIONS_H_
