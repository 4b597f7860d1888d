// Models, datasets, and which blobs are named by what.
#include "absl/strings/str_cat.h"
#include "server/store/sqlite_transaction.h"

namespace lathe::server {
namespace {

absl::Status NotFound(absl::string_view name) {
  return absl::NotFoundError(absl::StrCat("there is no ", name));
}

// One page of a table of (ord, body), newest first. Asks for one row more than wanted to learn
// whether there is a next page.
template <typename Message>
absl::StatusOr<Page<Message>> ReadPage(Query& query, int limit) {
  Page<Message> page;
  int64_t last = 0;
  while (query.Step()) {
    if (static_cast<int>(page.items.size()) == limit) {
      page.next_before = last;
      break;
    }
    last = query.Int(0);
    ASSIGN_OR_RETURN(Message message,
                     ParseStored<Message>(query.Blob(1), absl::StrCat("row ", last)));
    page.items.push_back(std::move(message));
  }
  return page;
}

int64_t Before(int64_t before) { return before > 0 ? before : INT64_MAX; }

}  // namespace

absl::StatusOr<int64_t> SqliteTransaction::Order(const char* sql, absl::string_view name) {
  Query query(connection_, sql, name);
  if (!query.Step()) return NotFound(name);
  return query.Int(0);
}

absl::StatusOr<int64_t> SqliteTransaction::ModelOrder(absl::string_view name) {
  return Order("SELECT ord FROM models WHERE name = ?", name);
}

absl::StatusOr<int64_t> SqliteTransaction::DatasetOrder(absl::string_view name) {
  return Order("SELECT ord FROM datasets WHERE name = ?", name);
}

void SqliteTransaction::AddRef(const std::string& digest, Owner kind, int64_t owner) {
  if (digest.empty()) return;
  Query(connection_, "INSERT OR IGNORE INTO blob_refs VALUES(?, ?, ?)", digest,
        static_cast<int>(kind), owner)
      .Exec();
}

void SqliteTransaction::DropRefs(Owner kind, int64_t owner) {
  Query(connection_, "DELETE FROM blob_refs WHERE owner_kind = ? AND owner = ?",
        static_cast<int>(kind), owner)
      .Exec();
}

absl::Status SqliteTransaction::HandRefsToJobs(Owner kind, int64_t owner) {
  // Rare (someone deletes a model or dataset), so it may look at every unfinished job; creating and
  // ending jobs is not, so they write no references as long as the model and datasets stand for
  // them.
  ASSIGN_OR_RETURN(const std::vector<JobRecord> jobs, UnfinishedJobs());
  for (const JobRecord& job : jobs) {
    std::vector<std::string> digests;
    for (const auto& file : job.attempt.files()) digests.push_back(file.digest());
    for (const auto& file : job.attempt.compared_files()) digests.push_back(file.digest());
    for (const auto& file : job.attempt.teacher_files()) digests.push_back(file.digest());
    for (const auto& dataset : job.attempt.datasets()) digests.push_back(dataset.digest());
    for (const std::string& digest : digests) {
      Query mine(connection_,
                 "SELECT 1 FROM blob_refs WHERE digest = ? AND owner_kind = ? AND owner = ?",
                 digest, static_cast<int>(kind), owner);
      if (mine.Step()) AddRef(digest, Owner::kJobInputs, job.order);
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<lathe::v1::Model> SqliteTransaction::GetModel(absl::string_view name) {
  return Guard([&]() -> absl::StatusOr<lathe::v1::Model> {
    Query query(connection_, "SELECT body FROM models WHERE name = ?", name);
    if (!query.Step()) return NotFound(name);
    return ParseStored<lathe::v1::Model>(query.Blob(0), name);
  });
}

absl::StatusOr<Page<lathe::v1::Model>> SqliteTransaction::ListModels(int64_t before, int limit) {
  return Guard([&]() -> absl::StatusOr<Page<lathe::v1::Model>> {
    Query query(connection_, "SELECT ord, body FROM models WHERE ord < ? ORDER BY ord DESC LIMIT ?",
                Before(before), limit + 1);
    return ReadPage<lathe::v1::Model>(query, limit);
  });
}

absl::StatusOr<lathe::v1::Dataset> SqliteTransaction::GetDataset(absl::string_view name) {
  return Guard([&]() -> absl::StatusOr<lathe::v1::Dataset> {
    Query query(connection_, "SELECT body FROM datasets WHERE name = ?", name);
    if (!query.Step()) return NotFound(name);
    return ParseStored<lathe::v1::Dataset>(query.Blob(0), name);
  });
}

absl::StatusOr<Page<lathe::v1::Dataset>> SqliteTransaction::ListDatasets(int64_t before,
                                                                         int limit) {
  return Guard([&]() -> absl::StatusOr<Page<lathe::v1::Dataset>> {
    Query query(connection_,
                "SELECT ord, body FROM datasets WHERE ord < ? ORDER BY ord DESC LIMIT ?",
                Before(before), limit + 1);
    return ReadPage<lathe::v1::Dataset>(query, limit);
  });
}

absl::StatusOr<Page<lathe::v1::Job>> SqliteTransaction::ListJobs(const JobFilter& filter,
                                                                 int64_t before, int limit) {
  return Guard([&]() -> absl::StatusOr<Page<lathe::v1::Job>> {
    // One statement for each shape of filter, so that each is served by its own index.
    if (!filter.model.empty()) {
      Query query(connection_,
                  "SELECT ord, body FROM jobs WHERE kind = 1 AND model = ? AND ord < ? AND "
                  "(?3 = 0 OR state = ?3) ORDER BY ord DESC LIMIT ?4",
                  filter.model, Before(before), static_cast<int>(filter.state), limit + 1);
      return ReadPage<lathe::v1::Job>(query, limit);
    }
    if (filter.state != lathe::v1::JOB_STATE_UNSPECIFIED) {
      Query query(connection_,
                  "SELECT ord, body FROM jobs WHERE kind = 1 AND state = ? AND ord < ? "
                  "ORDER BY ord DESC LIMIT ?",
                  static_cast<int>(filter.state), Before(before), limit + 1);
      return ReadPage<lathe::v1::Job>(query, limit);
    }
    Query query(connection_,
                "SELECT ord, body FROM jobs WHERE kind = 1 AND ord < ? ORDER BY ord DESC LIMIT ?",
                Before(before), limit + 1);
    return ReadPage<lathe::v1::Job>(query, limit);
  });
}

absl::StatusOr<bool> SqliteTransaction::IsReferenced(absl::string_view digest) {
  return Guard([&]() -> absl::StatusOr<bool> {
    return Query(connection_, "SELECT 1 FROM blob_refs WHERE digest = ? LIMIT 1", digest).Step();
  });
}

absl::StatusOr<std::vector<std::string>> SqliteTransaction::ReferencedDigests() {
  return Guard([&]() -> absl::StatusOr<std::vector<std::string>> {
    std::vector<std::string> digests;
    Query query(connection_, "SELECT DISTINCT digest FROM blob_refs ORDER BY digest");
    while (query.Step()) digests.push_back(query.Text(0));
    return digests;
  });
}

absl::Status SqliteTransaction::InsertModel(const lathe::v1::Model& model) {
  return Guard([&]() -> absl::Status {
    const std::string body = model.SerializeAsString();
    Query(connection_, "INSERT INTO models(name, body) VALUES(?, ?)", model.name(),
          Query::AsBlob(body))
        .Exec();
    ASSIGN_OR_RETURN(const int64_t order, ModelOrder(model.name()));
    for (const auto& file : model.files()) AddRef(file.digest(), Owner::kModel, order);
    return absl::OkStatus();
  });
}

absl::Status SqliteTransaction::DeleteModel(absl::string_view name) {
  return Guard([&]() -> absl::Status {
    ASSIGN_OR_RETURN(const int64_t order, ModelOrder(name));
    RETURN_IF_ERROR(HandRefsToJobs(Owner::kModel, order));
    DropRefs(Owner::kModel, order);
    DropRefs(Owner::kInspections, order);
    Query(connection_, "DELETE FROM models WHERE ord = ?", order).Exec();
    return absl::OkStatus();
  });
}

absl::Status SqliteTransaction::InsertDataset(const lathe::v1::Dataset& dataset) {
  return Guard([&]() -> absl::Status {
    const std::string body = dataset.SerializeAsString();
    Query(connection_, "INSERT INTO datasets(name, body) VALUES(?, ?)", dataset.name(),
          Query::AsBlob(body))
        .Exec();
    ASSIGN_OR_RETURN(const int64_t order, DatasetOrder(dataset.name()));
    AddRef(dataset.digest(), Owner::kDataset, order);
    return absl::OkStatus();
  });
}

absl::Status SqliteTransaction::DeleteDataset(absl::string_view name) {
  return Guard([&]() -> absl::Status {
    ASSIGN_OR_RETURN(const int64_t order, DatasetOrder(name));
    RETURN_IF_ERROR(HandRefsToJobs(Owner::kDataset, order));
    DropRefs(Owner::kDataset, order);
    Query(connection_, "DELETE FROM datasets WHERE ord = ?", order).Exec();
    return absl::OkStatus();
  });
}

}  // namespace lathe::server
