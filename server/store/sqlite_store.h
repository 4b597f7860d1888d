// The embedded store: one SQLite file in WAL mode with synchronous=FULL.
//
// One thread writes at a time. A caller who finds the connection free writes by itself, which saves
// two wake-ups, a good part of what a small write costs. Callers who come meanwhile queue their
// functions; the writer thread takes all that wait, runs each in a savepoint of one transaction,
// commits once, and then answers every caller: the cost of making bytes durable is shared by all
// who wait (group commit). Readers have connections of their own and never wait for the writer.
// Pages go from the log to the database on the writer thread, after callers were answered.
#ifndef LATHE_SERVER_STORE_SQLITE_STORE_H_
#define LATHE_SERVER_STORE_SQLITE_STORE_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/clock.h"
#include "server/store/store.h"

namespace lathe::server {

struct SqliteStoreOptions {
  // The database file; created when missing. Its directory must exist; hold a DataDirLock on it.
  std::string path;
  // Connections for reading; more readers than this wait for one another. Range: [1, 64].
  int readers = 4;
  // Largest size of the database. Unit: pages of 4 KiB. 0: no limit of ours.
  int64_t max_pages = 0;
  // How long a statement waits for a lock that another program holds (a backup, say).
  absl::Duration busy_timeout = absl::Seconds(5);
  // Told how long each commit took (lathe_sqlite_commit_duration_seconds) and how many writes it
  // carried. Called by one thread at a time.
  std::function<void(absl::Duration took, int writes)> on_commit;
};

class SqliteStore : public Store {
 public:
  // Opens the file and brings its tables up to date. FAILED_PRECONDITION when a newer version of
  // the server has written it, or it is no database of this server; DATA_LOSS when it is damaged.
  // `clock` must outlive the store.
  static absl::StatusOr<std::unique_ptr<SqliteStore>> Open(SqliteStoreOptions options,
                                                           const Clock* clock);
  // Answers everything queued, then closes.
  ~SqliteStore() override;

  absl::Status Write(const std::function<absl::Status(WriteTransaction&)>& work) override;
  absl::Status Read(const std::function<absl::Status(ReadTransaction&)>& work) override;

 private:
  class Impl;
  explicit SqliteStore(std::unique_ptr<Impl> impl);
  const std::unique_ptr<Impl> impl_;
};

}  // namespace lathe::server

#endif  // LATHE_SERVER_STORE_SQLITE_STORE_H_
