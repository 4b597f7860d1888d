#include "server/store/migrations.h"

#include <array>
#include <cstdint>

#include "SQLiteCpp/Column.h"
#include "SQLiteCpp/Transaction.h"
#include "absl/strings/str_cat.h"
#include "server/store/sqlite_error.h"

namespace lathe::server {
namespace {

// Marks the file as ours: "Lath" in ASCII.
constexpr int32_t kApplicationId = 0x4c617468;

// Resources keep their message as a blob, beside the columns that are searched. `ord` is the order
// of creation; AUTOINCREMENT, so that a deleted resource's position is never given again and page
// tokens stay true.
//
// blob_refs.owner_kind: 1 a model's files, 2 a dataset, 3 an unfinished job's inputs (only those
// whose model or dataset is gone: until then rows of kind 1 and 2 stand for them), 4 a job's
// reports, 5 a model's kept inspections, 6 an unfinished job's checkpoint.
constexpr char kCore[] = R"sql(
CREATE TABLE models(
  ord INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL UNIQUE,
  body BLOB NOT NULL) STRICT;
CREATE TABLE datasets(
  ord INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL UNIQUE,
  body BLOB NOT NULL) STRICT;
CREATE TABLE jobs(
  ord INTEGER PRIMARY KEY AUTOINCREMENT,
  name TEXT NOT NULL UNIQUE,
  tenant TEXT NOT NULL,
  kind INTEGER NOT NULL,
  state INTEGER NOT NULL,
  model TEXT NOT NULL,
  body BLOB NOT NULL,
  attempt BLOB NOT NULL,
  lease_token INTEGER NOT NULL,
  attempts_begun INTEGER NOT NULL,
  queued_us INTEGER NOT NULL,
  pending_spent_us INTEGER NOT NULL,
  attempt_us INTEGER NOT NULL,
  completed_token INTEGER NOT NULL,
  completed_outcome TEXT NOT NULL,
  report_text_digest TEXT NOT NULL,
  log_lines INTEGER NOT NULL,
  log_bytes INTEGER NOT NULL,
  progress_events INTEGER NOT NULL) STRICT;
CREATE INDEX jobs_by_state ON jobs(kind, state, ord);
CREATE INDEX jobs_by_model ON jobs(model, ord);
CREATE TABLE events(
  job INTEGER NOT NULL REFERENCES jobs(ord) ON DELETE CASCADE,
  sequence INTEGER NOT NULL,
  kind INTEGER NOT NULL,
  body BLOB NOT NULL,
  PRIMARY KEY(job, sequence)) STRICT, WITHOUT ROWID;
CREATE TABLE requests(
  scope TEXT NOT NULL,
  request_id TEXT NOT NULL,
  fingerprint TEXT NOT NULL,
  resource TEXT NOT NULL,
  created_us INTEGER NOT NULL,
  PRIMARY KEY(scope, request_id)) STRICT, WITHOUT ROWID;
CREATE TABLE blob_refs(
  digest TEXT NOT NULL,
  owner_kind INTEGER NOT NULL,
  owner INTEGER NOT NULL,
  PRIMARY KEY(digest, owner_kind, owner)) STRICT, WITHOUT ROWID;
CREATE INDEX blob_refs_by_owner ON blob_refs(owner_kind, owner);
CREATE TABLE counters(
  name TEXT PRIMARY KEY,
  value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO counters VALUES('lease_token', 0);
)sql";

constexpr char kKeptResults[] = R"sql(
CREATE TABLE results(
  key TEXT PRIMARY KEY,
  body BLOB NOT NULL,
  report_text_digest TEXT NOT NULL,
  created_us INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE inspections(
  model INTEGER NOT NULL REFERENCES models(ord) ON DELETE CASCADE,
  key TEXT NOT NULL,
  summary_digest TEXT NOT NULL,
  text_digest TEXT NOT NULL,
  PRIMARY KEY(model, key)) STRICT, WITHOUT ROWID;
)sql";

// A job's position no longer comes from AUTOINCREMENT, whose table is one page more to write with
// every job: it follows the greatest one, or, where the newest jobs were deleted, what their
// deletion kept in the counter, so that none is given twice. New tables are filled and renamed;
// events go first, because they refer to jobs and would be deleted with them.
constexpr char kJobOrders[] = R"sql(
INSERT INTO counters VALUES('job_order',
  COALESCE((SELECT seq FROM sqlite_sequence WHERE name = 'jobs'), 0));
CREATE TABLE new_jobs(
  ord INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  tenant TEXT NOT NULL,
  kind INTEGER NOT NULL,
  state INTEGER NOT NULL,
  model TEXT NOT NULL,
  body BLOB NOT NULL,
  attempt BLOB NOT NULL,
  lease_token INTEGER NOT NULL,
  attempts_begun INTEGER NOT NULL,
  queued_us INTEGER NOT NULL,
  pending_spent_us INTEGER NOT NULL,
  attempt_us INTEGER NOT NULL,
  completed_token INTEGER NOT NULL,
  completed_outcome TEXT NOT NULL,
  report_text_digest TEXT NOT NULL,
  log_lines INTEGER NOT NULL,
  log_bytes INTEGER NOT NULL,
  progress_events INTEGER NOT NULL) STRICT;
INSERT INTO new_jobs SELECT * FROM jobs ORDER BY ord;
CREATE TABLE new_events(
  job INTEGER NOT NULL REFERENCES new_jobs(ord) ON DELETE CASCADE,
  sequence INTEGER NOT NULL,
  kind INTEGER NOT NULL,
  body BLOB NOT NULL,
  PRIMARY KEY(job, sequence)) STRICT, WITHOUT ROWID;
INSERT INTO new_events SELECT * FROM events ORDER BY job, sequence;
DROP TABLE events;
DROP TABLE jobs;
ALTER TABLE new_jobs RENAME TO jobs;
ALTER TABLE new_events RENAME TO events;
CREATE INDEX jobs_by_state ON jobs(kind, state, ord);
CREATE INDEX jobs_by_model ON jobs(model, ord);
)sql";

// Where the training of an unfinished job stands.
constexpr char kCheckpoints[] = R"sql(
CREATE TABLE checkpoints(
  job INTEGER PRIMARY KEY REFERENCES jobs(ord) ON DELETE CASCADE,
  digest TEXT NOT NULL,
  size_bytes INTEGER NOT NULL,
  lease_token INTEGER NOT NULL) STRICT;
)sql";

constexpr std::array kMigrations = {&kCore[0], &kKeptResults[0], &kJobOrders[0], &kCheckpoints[0]};

absl::Status MigrateOrThrow(SQLite::Database& db, std::span<const char* const> steps) {
  const int version = db.execAndGet("PRAGMA user_version").getInt();
  const int id = db.execAndGet("PRAGMA application_id").getInt();
  const int tables = db.execAndGet("SELECT COUNT(*) FROM sqlite_schema").getInt();
  const std::string file = db.getFilename();
  if (id != kApplicationId && (id != 0 || version != 0 || tables != 0)) {
    return absl::FailedPreconditionError(
        absl::StrCat(file, " is a database of another program (application id ", id,
                     "); choose another --data-dir"));
  }
  if (version < 0 || static_cast<size_t>(version) > steps.size()) {
    return absl::FailedPreconditionError(
        absl::StrCat(file, " was written by a newer version of the server: it has schema version ",
                     version, ", and this server knows up to ", steps.size(),
                     "; run the newer server, or start with an empty --data-dir"));
  }
  for (size_t i = version; i < steps.size(); ++i) {
    SQLite::Transaction transaction(db, SQLite::TransactionBehavior::EXCLUSIVE);
    db.exec(steps[i]);
    db.exec(absl::StrCat("PRAGMA application_id = ", kApplicationId));
    db.exec(absl::StrCat("PRAGMA user_version = ", i + 1));
    transaction.commit();
  }
  return absl::OkStatus();
}

}  // namespace

std::span<const char* const> Migrations() { return kMigrations; }

absl::Status Migrate(SQLite::Database& db, std::span<const char* const> steps) {
  try {
    return MigrateOrThrow(db, steps);
  } catch (const SQLite::Exception& e) {
    return SqliteErrorToStatus(e.getExtendedErrorCode(), 0,
                               absl::StrCat("cannot migrate: ", e.what()));
  }
}

}  // namespace lathe::server
