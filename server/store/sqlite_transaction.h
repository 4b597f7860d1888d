// The store's operations as SQL.
#ifndef LATHE_SERVER_STORE_SQLITE_TRANSACTION_H_
#define LATHE_SERVER_STORE_SQLITE_TRANSACTION_H_

#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/clock.h"
#include "common/status_macros.h"
#include "common/status_reason.h"
#include "server/store/sqlite_connection.h"
#include "server/store/sqlite_error.h"
#include "server/store/store.h"

namespace lathe::server {

// Not thread-safe; begins and ends nothing by itself (sqlite_store.cc does). Write methods need a
// connection of Role::kWriter.
class SqliteTransaction : public WriteTransaction {
 public:
  SqliteTransaction(SqliteConnection* connection, const Clock* clock)
      : connection_(*connection), clock_(*clock) {}

  // The first fault of storage that any operation met; the transaction must not be committed then,
  // whatever its function answered.
  const absl::Status& fault() const { return fault_; }

  absl::StatusOr<lathe::v1::Model> GetModel(absl::string_view name) override;
  absl::StatusOr<Page<lathe::v1::Model>> ListModels(int64_t before, int limit) override;
  absl::StatusOr<lathe::v1::Dataset> GetDataset(absl::string_view name) override;
  absl::StatusOr<Page<lathe::v1::Dataset>> ListDatasets(int64_t before, int limit) override;
  absl::StatusOr<JobRecord> GetJob(absl::string_view name) override;
  absl::StatusOr<Page<lathe::v1::Job>> ListJobs(const JobFilter& filter, int64_t before,
                                                int limit) override;
  absl::StatusOr<std::vector<JobRecord>> UnfinishedJobs() override;
  absl::StatusOr<std::vector<int64_t>> CountJobs() override;
  absl::StatusOr<std::vector<lathe::v1::JobEvent>> EventsAfter(absl::string_view job,
                                                               int64_t sequence,
                                                               int limit) override;
  absl::StatusOr<std::vector<lathe::v1::JobLog>> LogsAfter(absl::string_view job, int64_t sequence,
                                                           int limit) override;
  absl::StatusOr<std::optional<RequestRecord>> FindRequest(absl::string_view scope,
                                                           absl::string_view request_id) override;
  absl::StatusOr<std::optional<CachedResult>> FindResult(absl::string_view key) override;
  absl::StatusOr<std::optional<InspectSummary>> FindInspect(absl::string_view model,
                                                            absl::string_view key) override;
  absl::StatusOr<std::optional<KeptCheckpoint>> FindCheckpoint(absl::string_view job) override;
  absl::StatusOr<bool> IsReferenced(absl::string_view digest) override;
  absl::StatusOr<std::vector<std::string>> ReferencedDigests() override;

  absl::Status InsertModel(const lathe::v1::Model& model) override;
  absl::Status DeleteModel(absl::string_view name) override;
  absl::Status InsertDataset(const lathe::v1::Dataset& dataset) override;
  absl::Status DeleteDataset(absl::string_view name) override;
  absl::Status InsertJob(JobRecord* record) override;
  absl::Status UpdateJob(const JobRecord& record) override;
  absl::Status DeleteJob(absl::string_view name) override;
  absl::Status DeleteInternalJobs() override;
  absl::Status AppendEvent(absl::string_view job, const lathe::v1::JobEvent& event) override;
  absl::StatusOr<int64_t> ThinProgressEvents(absl::string_view job) override;
  absl::StatusOr<int64_t> NextLeaseToken() override;
  absl::Status InsertRequest(absl::string_view scope, absl::string_view request_id,
                             const RequestRecord& request) override;
  absl::StatusOr<int64_t> DeleteOrphanRequests(absl::Time older_than) override;
  absl::Status PutResult(absl::string_view key, const CachedResult& result) override;
  absl::Status DeleteResult(absl::string_view key) override;
  absl::Status PutInspect(absl::string_view model, absl::string_view key,
                          const InspectSummary& summary) override;
  absl::Status DeleteInspect(absl::string_view model, absl::string_view key) override;
  absl::Status PutCheckpoint(absl::string_view job, const KeptCheckpoint& checkpoint) override;
  absl::Status DeleteCheckpoint(absl::string_view job) override;

 private:
  // Who names a blob (blob_refs.owner_kind).
  enum class Owner {
    kModel = 1,
    kDataset = 2,
    kJobInputs = 3,
    kJobReports = 4,
    kInspections = 5,
    kJobCheckpoint = 6
  };

  // Runs `work`, which may throw SQLite::Exception, and turns that into a Status; remembers storage
  // faults.
  template <typename Work>
  auto Guard(const Work& work) -> decltype(work());

  // Position of a resource; NOT_FOUND. They throw.
  absl::StatusOr<int64_t> Order(const char* sql, absl::string_view name);
  absl::StatusOr<int64_t> ModelOrder(absl::string_view name);
  absl::StatusOr<int64_t> DatasetOrder(absl::string_view name);
  absl::StatusOr<int64_t> JobOrder(absl::string_view name);

  // Before jobs are deleted: their positions are never given again. It is done here rather than at
  // every insertion, which would have one page more to write.
  void KeepJobOrders();

  void AddRef(const std::string& digest, Owner kind, int64_t owner);
  void DropRefs(Owner kind, int64_t owner);
  // Before a model or dataset goes: unfinished jobs that read one of its blobs name it themselves
  // from now on.
  absl::Status HandRefsToJobs(Owner kind, int64_t owner);

  SqliteConnection& connection_;
  const Clock& clock_;
  absl::Status fault_;
};

template <typename Work>
auto SqliteTransaction::Guard(const Work& work) -> decltype(work()) {
  try {
    auto answer = work();
    absl::Status status;
    if constexpr (std::is_same_v<decltype(work()), absl::Status>) {
      status = answer;
    } else {
      status = answer.status();
    }
    if (fault_.ok() && IsStorageFault(status)) fault_ = status;
    return answer;
  } catch (const SQLite::Exception& e) {
    const absl::Status status = connection_.ToStatus(e);
    // ALREADY_EXISTS undoes only its own statement, so the caller may go on; everything else spoils
    // the transaction.
    if (fault_.ok() && !absl::IsAlreadyExists(status)) fault_ = status;
    return status;
  }
}

// Parses a stored message; DATA_LOSS naming the resource when it cannot be.
template <typename Message>
absl::StatusOr<Message> ParseStored(absl::string_view bytes, absl::string_view name) {
  Message message;
  if (!message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return WithReason(absl::DataLossError(absl::StrCat(
                          "metadata store: the record of ", name,
                          " cannot be read; restore the data directory from a backup")),
                      "STORAGE_CORRUPT");
  }
  return message;
}

}  // namespace lathe::server

#endif  // LATHE_SERVER_STORE_SQLITE_TRANSACTION_H_
