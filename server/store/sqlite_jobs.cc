// Jobs and their events.
#include "absl/strings/str_cat.h"
#include "server/store/sqlite_transaction.h"

namespace lathe::server {
namespace {

constexpr int kStateChange = 1;
constexpr int kProgress = 2;
constexpr int kLog = 3;

#define LATHE_JOB_COLUMNS                                                                  \
  "ord, name, tenant, kind, body, attempt, lease_token, attempts_begun, queued_us, "       \
  "pending_spent_us, attempt_us, completed_token, completed_outcome, report_text_digest, " \
  "log_lines, log_bytes, progress_events"

absl::StatusOr<JobRecord> ReadJob(const Query& query) {
  JobRecord record;
  const std::string name = query.Text(1);
  record.order = query.Int(0);
  record.tenant = query.Text(2);
  record.kind = static_cast<lathe::v1::AttemptKind>(query.Int(3));
  ASSIGN_OR_RETURN(record.job, ParseStored<lathe::v1::Job>(query.Blob(4), name));
  ASSIGN_OR_RETURN(record.attempt, ParseStored<lathe::v1::Attempt>(query.Blob(5), name));
  record.lease_token = query.Int(6);
  record.attempts_begun = static_cast<int32_t>(query.Int(7));
  record.queued_time = absl::FromUnixMicros(query.Int(8));
  record.pending_spent = absl::Microseconds(query.Int(9));
  record.attempt_time = absl::FromUnixMicros(query.Int(10));
  record.completed_token = query.Int(11);
  record.completed_outcome = query.Text(12);
  record.report_text_digest = query.Text(13);
  record.log_lines = query.Int(14);
  record.log_bytes = query.Int(15);
  record.progress_events = query.Int(16);
  return record;
}

bool IsUnfinished(lathe::v1::JobState state) {
  return state == lathe::v1::JOB_STATE_PENDING || state == lathe::v1::JOB_STATE_RUNNING ||
         state == lathe::v1::JOB_STATE_CANCELLING;
}

int EventKind(const lathe::v1::JobEvent& event) {
  if (event.has_state_change()) return kStateChange;
  if (event.has_progress()) return kProgress;
  return kLog;
}

}  // namespace

absl::StatusOr<int64_t> SqliteTransaction::JobOrder(absl::string_view name) {
  return Order("SELECT ord FROM jobs WHERE name = ?", name);
}

void SqliteTransaction::KeepJobOrders() {
  Query(connection_,
        "UPDATE counters SET value = MAX(value, COALESCE((SELECT MAX(ord) FROM jobs), 0)) "
        "WHERE name = 'job_order'")
      .Exec();
}

absl::StatusOr<JobRecord> SqliteTransaction::GetJob(absl::string_view name) {
  return Guard([&]() -> absl::StatusOr<JobRecord> {
    Query query(connection_, "SELECT " LATHE_JOB_COLUMNS " FROM jobs WHERE name = ?", name);
    if (!query.Step()) return absl::NotFoundError(absl::StrCat("there is no ", name));
    return ReadJob(query);
  });
}

absl::StatusOr<std::vector<JobRecord>> SqliteTransaction::UnfinishedJobs() {
  return Guard([&]() -> absl::StatusOr<std::vector<JobRecord>> {
    std::vector<JobRecord> jobs;
    Query query(connection_, "SELECT " LATHE_JOB_COLUMNS
                             " FROM jobs WHERE kind IN (1, 2) AND state IN (1, 2, 3) ORDER BY ord");
    while (query.Step()) {
      ASSIGN_OR_RETURN(JobRecord record, ReadJob(query));
      jobs.push_back(std::move(record));
    }
    return jobs;
  });
}

absl::StatusOr<std::vector<int64_t>> SqliteTransaction::CountJobs() {
  return Guard([&]() -> absl::StatusOr<std::vector<int64_t>> {
    std::vector<int64_t> counts(lathe::v1::JobState_ARRAYSIZE, 0);
    Query query(connection_, "SELECT state, COUNT(*) FROM jobs WHERE kind = 1 GROUP BY state");
    while (query.Step()) {
      const int64_t state = query.Int(0);
      if (state >= 0 && state < static_cast<int64_t>(counts.size())) counts[state] = query.Int(1);
    }
    return counts;
  });
}

absl::Status SqliteTransaction::InsertJob(JobRecord* record) {
  return Guard([&]() -> absl::Status {
    const std::string body = record->job.SerializeAsString();
    const std::string attempt = record->attempt.SerializeAsString();
    Query query(
        connection_,
        "INSERT INTO jobs(ord, name, tenant, kind, state, model, body, attempt, lease_token, "
        "attempts_begun, queued_us, pending_spent_us, attempt_us, completed_token, "
        "completed_outcome, report_text_digest, log_lines, log_bytes, progress_events) "
        "VALUES(1 + MAX(COALESCE((SELECT MAX(ord) FROM jobs), 0), "
        "(SELECT value FROM counters WHERE name = 'job_order')), "
        "?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        record->job.name(), record->tenant, static_cast<int>(record->kind),
        static_cast<int>(record->job.state()), record->job.model(), Query::AsBlob(body),
        Query::AsBlob(attempt), record->lease_token, record->attempts_begun,
        absl::ToUnixMicros(record->queued_time), absl::ToInt64Microseconds(record->pending_spent),
        absl::ToUnixMicros(record->attempt_time), record->completed_token,
        record->completed_outcome, record->report_text_digest, record->log_lines, record->log_bytes,
        record->progress_events);
    query.Exec();
    record->order = connection_.db().getLastInsertRowid();
    if (!IsUnfinished(record->job.state())) {
      AddRef(record->job.result().report_digest(), Owner::kJobReports, record->order);
      AddRef(record->report_text_digest, Owner::kJobReports, record->order);
    }
    return absl::OkStatus();
  });
}

absl::Status SqliteTransaction::UpdateJob(const JobRecord& record) {
  return Guard([&]() -> absl::Status {
    const std::string body = record.job.SerializeAsString();
    Query query(connection_,
                "UPDATE jobs SET state = ?, body = ?, lease_token = ?, attempts_begun = ?, "
                "queued_us = ?, pending_spent_us = ?, attempt_us = ?, completed_token = ?, "
                "completed_outcome = ?, report_text_digest = ?, log_lines = ?, log_bytes = ?, "
                "progress_events = ? WHERE ord = ? AND name = ?",
                static_cast<int>(record.job.state()), Query::AsBlob(body), record.lease_token,
                record.attempts_begun, absl::ToUnixMicros(record.queued_time),
                absl::ToInt64Microseconds(record.pending_spent),
                absl::ToUnixMicros(record.attempt_time), record.completed_token,
                record.completed_outcome, record.report_text_digest, record.log_lines,
                record.log_bytes, record.progress_events, record.order, record.job.name());
    if (query.Exec() == 0)
      return absl::NotFoundError(absl::StrCat("there is no ", record.job.name()));
    if (!IsUnfinished(record.job.state())) {
      DropRefs(Owner::kJobInputs, record.order);
      AddRef(record.job.result().report_digest(), Owner::kJobReports, record.order);
      AddRef(record.report_text_digest, Owner::kJobReports, record.order);
    }
    return absl::OkStatus();
  });
}

absl::Status SqliteTransaction::DeleteJob(absl::string_view name) {
  return Guard([&]() -> absl::Status {
    ASSIGN_OR_RETURN(const int64_t order, JobOrder(name));
    DropRefs(Owner::kJobInputs, order);
    DropRefs(Owner::kJobReports, order);
    DropRefs(Owner::kJobCheckpoint, order);
    KeepJobOrders();
    Query(connection_, "DELETE FROM jobs WHERE ord = ?", order).Exec();
    return absl::OkStatus();
  });
}

absl::Status SqliteTransaction::DeleteInternalJobs() {
  return Guard([&]() -> absl::Status {
    Query(connection_,
          "DELETE FROM blob_refs WHERE owner_kind IN (?, ?) "
          "AND owner IN (SELECT ord FROM jobs WHERE kind = 2)",
          static_cast<int>(Owner::kJobInputs), static_cast<int>(Owner::kJobReports))
        .Exec();
    KeepJobOrders();
    Query(connection_, "DELETE FROM jobs WHERE kind = 2").Exec();
    return absl::OkStatus();
  });
}

absl::Status SqliteTransaction::AppendEvent(absl::string_view job,
                                            const lathe::v1::JobEvent& event) {
  return Guard([&]() -> absl::Status {
    const std::string body = event.SerializeAsString();
    Query query(connection_,
                "INSERT INTO events(job, sequence, kind, body) "
                "SELECT ord, ?, ?, ? FROM jobs WHERE name = ?",
                event.sequence(), EventKind(event), Query::AsBlob(body), job);
    if (query.Exec() == 0) return absl::NotFoundError(absl::StrCat("there is no ", job));
    return absl::OkStatus();
  });
}

absl::StatusOr<std::vector<lathe::v1::JobEvent>> SqliteTransaction::EventsAfter(
    absl::string_view job, int64_t sequence, int limit) {
  return Guard([&]() -> absl::StatusOr<std::vector<lathe::v1::JobEvent>> {
    ASSIGN_OR_RETURN(const int64_t order, JobOrder(job));
    std::vector<lathe::v1::JobEvent> events;
    Query query(connection_,
                "SELECT body FROM events WHERE job = ? AND sequence > ? ORDER BY sequence LIMIT ?",
                order, sequence, limit);
    while (query.Step()) {
      ASSIGN_OR_RETURN(auto event, ParseStored<lathe::v1::JobEvent>(query.Blob(0), job));
      events.push_back(std::move(event));
    }
    return events;
  });
}

absl::StatusOr<std::vector<lathe::v1::JobLog>> SqliteTransaction::LogsAfter(absl::string_view job,
                                                                            int64_t sequence,
                                                                            int limit) {
  return Guard([&]() -> absl::StatusOr<std::vector<lathe::v1::JobLog>> {
    ASSIGN_OR_RETURN(const int64_t order, JobOrder(job));
    std::vector<lathe::v1::JobLog> lines;
    Query query(connection_,
                "SELECT body FROM events WHERE job = ? AND sequence > ? AND kind = ? "
                "ORDER BY sequence LIMIT ?",
                order, sequence, kLog, limit);
    while (query.Step()) {
      ASSIGN_OR_RETURN(auto event, ParseStored<lathe::v1::JobEvent>(query.Blob(0), job));
      lines.push_back(std::move(*event.mutable_log()));
    }
    return lines;
  });
}

absl::StatusOr<int64_t> SqliteTransaction::ThinProgressEvents(absl::string_view job) {
  return Guard([&]() -> absl::StatusOr<int64_t> {
    ASSIGN_OR_RETURN(const int64_t order, JobOrder(job));
    Query(connection_,
          "DELETE FROM events WHERE job = ?1 AND sequence IN ("
          "SELECT sequence FROM (SELECT sequence, ROW_NUMBER() OVER (ORDER BY sequence DESC) AS n "
          "FROM events WHERE job = ?1 AND kind = ?2) WHERE n % 2 = 0)",
          order, kProgress)
        .Exec();
    Query count(connection_, "SELECT COUNT(*) FROM events WHERE job = ? AND kind = ?", order,
                kProgress);
    count.Step();
    return count.Int(0);
  });
}

}  // namespace lathe::server
