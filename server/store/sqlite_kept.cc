// What is kept beside the resources: request ids, lease tokens, results, inspections, checkpoints.
#include "absl/strings/str_cat.h"
#include "server/store/sqlite_transaction.h"

namespace lathe::server {

absl::StatusOr<int64_t> SqliteTransaction::NextLeaseToken() {
  return Guard([&]() -> absl::StatusOr<int64_t> {
    Query query(connection_,
                "UPDATE counters SET value = value + 1 WHERE name = 'lease_token' RETURNING value");
    if (!query.Step()) return absl::InternalError("metadata store: the lease counter is missing");
    return query.Int(0);
  });
}

absl::StatusOr<std::optional<RequestRecord>> SqliteTransaction::FindRequest(
    absl::string_view scope, absl::string_view request_id) {
  return Guard([&]() -> absl::StatusOr<std::optional<RequestRecord>> {
    Query query(connection_,
                "SELECT fingerprint, resource FROM requests WHERE scope = ? AND request_id = ?",
                scope, request_id);
    if (!query.Step()) return std::optional<RequestRecord>();
    return std::optional<RequestRecord>(RequestRecord{query.Text(0), query.Text(1)});
  });
}

absl::Status SqliteTransaction::InsertRequest(absl::string_view scope, absl::string_view request_id,
                                              const RequestRecord& request) {
  return Guard([&]() -> absl::Status {
    Query(connection_, "INSERT INTO requests VALUES(?, ?, ?, ?, ?)", scope, request_id,
          request.fingerprint, request.resource, absl::ToUnixMicros(clock_.Now()))
        .Exec();
    return absl::OkStatus();
  });
}

absl::StatusOr<int64_t> SqliteTransaction::DeleteOrphanRequests(absl::Time older_than) {
  return Guard([&]() -> absl::StatusOr<int64_t> {
    Query query(connection_,
                "DELETE FROM requests WHERE created_us < ? "
                "AND NOT EXISTS (SELECT 1 FROM jobs WHERE name = resource) "
                "AND NOT EXISTS (SELECT 1 FROM models WHERE name = resource) "
                "AND NOT EXISTS (SELECT 1 FROM datasets WHERE name = resource)",
                absl::ToUnixMicros(older_than));
    return query.Exec();
  });
}

absl::StatusOr<std::optional<CachedResult>> SqliteTransaction::FindResult(absl::string_view key) {
  return Guard([&]() -> absl::StatusOr<std::optional<CachedResult>> {
    Query query(connection_, "SELECT body, report_text_digest FROM results WHERE key = ?", key);
    if (!query.Step()) return std::optional<CachedResult>();
    CachedResult found;
    ASSIGN_OR_RETURN(found.result,
                     ParseStored<lathe::v1::JobResult>(query.Blob(0), "a kept result"));
    found.report_text_digest = query.Text(1);
    return std::optional<CachedResult>(std::move(found));
  });
}

absl::Status SqliteTransaction::PutResult(absl::string_view key, const CachedResult& result) {
  return Guard([&]() -> absl::Status {
    const std::string body = result.result.SerializeAsString();
    Query(connection_, "INSERT OR REPLACE INTO results VALUES(?, ?, ?, ?)", key,
          Query::AsBlob(body), result.report_text_digest, absl::ToUnixMicros(clock_.Now()))
        .Exec();
    return absl::OkStatus();
  });
}

absl::Status SqliteTransaction::DeleteResult(absl::string_view key) {
  return Guard([&]() -> absl::Status {
    Query(connection_, "DELETE FROM results WHERE key = ?", key).Exec();
    return absl::OkStatus();
  });
}

absl::StatusOr<std::optional<InspectSummary>> SqliteTransaction::FindInspect(
    absl::string_view model, absl::string_view key) {
  return Guard([&]() -> absl::StatusOr<std::optional<InspectSummary>> {
    Query query(connection_,
                "SELECT summary_digest, text_digest FROM inspections "
                "JOIN models ON models.ord = inspections.model WHERE models.name = ? AND key = ?",
                model, key);
    if (!query.Step()) return std::optional<InspectSummary>();
    return std::optional<InspectSummary>(InspectSummary{query.Text(0), query.Text(1)});
  });
}

absl::Status SqliteTransaction::PutInspect(absl::string_view model, absl::string_view key,
                                           const InspectSummary& summary) {
  return Guard([&]() -> absl::Status {
    ASSIGN_OR_RETURN(const int64_t order, ModelOrder(model));
    Query(connection_, "INSERT OR REPLACE INTO inspections VALUES(?, ?, ?, ?)", order, key,
          summary.summary_digest, summary.text_digest)
        .Exec();
    AddRef(summary.summary_digest, Owner::kInspections, order);
    AddRef(summary.text_digest, Owner::kInspections, order);
    return absl::OkStatus();
  });
}

absl::Status SqliteTransaction::DeleteInspect(absl::string_view model, absl::string_view key) {
  return Guard([&]() -> absl::Status {
    ASSIGN_OR_RETURN(const int64_t order, ModelOrder(model));
    Query(connection_, "DELETE FROM inspections WHERE model = ? AND key = ?", order, key).Exec();
    // Its blobs may be those of another inspection of the model, so the references are made anew
    // from what is left.
    DropRefs(Owner::kInspections, order);
    Query(connection_,
          "INSERT OR IGNORE INTO blob_refs SELECT summary_digest, ?1, model FROM inspections "
          "WHERE model = ?2 UNION SELECT text_digest, ?1, model FROM inspections WHERE model = ?2 "
          "AND text_digest <> ''",
          static_cast<int>(Owner::kInspections), order)
        .Exec();
    return absl::OkStatus();
  });
}

absl::StatusOr<std::optional<KeptCheckpoint>> SqliteTransaction::FindCheckpoint(
    absl::string_view job) {
  return Guard([&]() -> absl::StatusOr<std::optional<KeptCheckpoint>> {
    Query query(connection_,
                "SELECT digest, size_bytes, checkpoints.lease_token FROM checkpoints "
                "JOIN jobs ON jobs.ord = checkpoints.job WHERE jobs.name = ?",
                job);
    if (!query.Step()) return std::optional<KeptCheckpoint>();
    return std::optional<KeptCheckpoint>(KeptCheckpoint{query.Text(0), query.Int(1), query.Int(2)});
  });
}

absl::Status SqliteTransaction::PutCheckpoint(absl::string_view job,
                                              const KeptCheckpoint& checkpoint) {
  return Guard([&]() -> absl::Status {
    ASSIGN_OR_RETURN(const int64_t order, JobOrder(job));
    Query(connection_, "INSERT OR REPLACE INTO checkpoints VALUES(?, ?, ?, ?)", order,
          checkpoint.digest, checkpoint.size_bytes, checkpoint.lease_token)
        .Exec();
    DropRefs(Owner::kJobCheckpoint, order);
    AddRef(checkpoint.digest, Owner::kJobCheckpoint, order);
    return absl::OkStatus();
  });
}

absl::Status SqliteTransaction::DeleteCheckpoint(absl::string_view job) {
  return Guard([&]() -> absl::Status {
    ASSIGN_OR_RETURN(const int64_t order, JobOrder(job));
    Query(connection_, "DELETE FROM checkpoints WHERE job = ?", order).Exec();
    DropRefs(Owner::kJobCheckpoint, order);
    return absl::OkStatus();
  });
}

}  // namespace lathe::server
