// The metadata store: models, datasets, jobs, events, idempotency, cached results. Everything
// durable except blobs.
//
// All work happens in transactions given as functions, so that one operation of the service (say:
// remember the request id, insert the job, insert its first event) is one atomic step in any
// backend. No type of a particular database appears here.
//
// Errors of every call, besides those named at it:
//   RESOURCE_EXHAUSTED (reason STORAGE_FULL)  the disk or a database limit is full; nothing was
//   changed, and calls succeed again
//                                             once there is room
//   UNAVAILABLE (reason STORAGE_UNAVAILABLE)  I/O error or lock time-out; nothing was changed, a
//   retry may succeed DATA_LOSS (reason STORAGE_CORRUPT)        the database is damaged
#ifndef LATHE_SERVER_STORE_STORE_H_
#define LATHE_SERVER_STORE_STORE_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/store/records.h"

namespace lathe::server {

// A consistent view. Not thread-safe; valid only inside the function it is handed to. Names are
// resource names ("jobs/{id}"); NOT_FOUND when there is no such resource.
class ReadTransaction {
 public:
  virtual ~ReadTransaction() = default;

  virtual absl::StatusOr<lathe::v1::Model> GetModel(absl::string_view name) = 0;
  // Newest first, those created before position `before` (0: from the newest), at most `limit`.
  virtual absl::StatusOr<Page<lathe::v1::Model>> ListModels(int64_t before, int limit) = 0;
  virtual absl::StatusOr<lathe::v1::Dataset> GetDataset(absl::string_view name) = 0;
  virtual absl::StatusOr<Page<lathe::v1::Dataset>> ListDatasets(int64_t before, int limit) = 0;

  virtual absl::StatusOr<JobRecord> GetJob(absl::string_view name) = 0;
  // Users' jobs only (kind COMPRESS).
  virtual absl::StatusOr<Page<lathe::v1::Job>> ListJobs(const JobFilter& filter, int64_t before,
                                                        int limit) = 0;
  // Every job that has not ended, of any kind, oldest first: what a starting server recovers.
  virtual absl::StatusOr<std::vector<JobRecord>> UnfinishedJobs() = 0;
  // Number of users' jobs in each state, indexed by JobState.
  virtual absl::StatusOr<std::vector<int64_t>> CountJobs() = 0;

  // Events of a job after a sequence number, oldest first, at most `limit`.
  virtual absl::StatusOr<std::vector<lathe::v1::JobEvent>> EventsAfter(absl::string_view job,
                                                                       int64_t sequence,
                                                                       int limit) = 0;
  // Only its log lines.
  virtual absl::StatusOr<std::vector<lathe::v1::JobLog>> LogsAfter(absl::string_view job,
                                                                   int64_t sequence, int limit) = 0;

  // nullopt when the request was never answered. `scope` is the tenant and the method.
  virtual absl::StatusOr<std::optional<RequestRecord>> FindRequest(
      absl::string_view scope, absl::string_view request_id) = 0;
  virtual absl::StatusOr<std::optional<CachedResult>> FindResult(absl::string_view key) = 0;
  virtual absl::StatusOr<std::optional<InspectSummary>> FindInspect(absl::string_view model,
                                                                    absl::string_view key) = 0;

  // nullopt when there is no such job, or it has none.
  virtual absl::StatusOr<std::optional<KeptCheckpoint>> FindCheckpoint(absl::string_view job) = 0;

  // True when a model, a dataset, a kept report, summary or checkpoint, or an unfinished job names
  // the blob.
  virtual absl::StatusOr<bool> IsReferenced(absl::string_view digest) = 0;
  // All such digests, sorted, each once. Cost: one scan of an index.
  virtual absl::StatusOr<std::vector<std::string>> ReferencedDigests() = 0;
};

// Reads and writes; a write is visible to later reads of the same transaction. ALREADY_EXISTS when
// an inserted name exists.
class WriteTransaction : public ReadTransaction {
 public:
  virtual absl::Status InsertModel(const lathe::v1::Model& model) = 0;
  // Also drops kept inspections of the model.
  virtual absl::Status DeleteModel(absl::string_view name) = 0;
  virtual absl::Status InsertDataset(const lathe::v1::Dataset& dataset) = 0;
  virtual absl::Status DeleteDataset(absl::string_view name) = 0;

  // Sets record->order.
  virtual absl::Status InsertJob(JobRecord* record) = 0;
  // Writes everything that can change after creation; while the job is unfinished its inputs count
  // as referenced, afterwards only its report does.
  virtual absl::Status UpdateJob(const JobRecord& record) = 0;
  // With its events and logs.
  virtual absl::Status DeleteJob(absl::string_view name) = 0;
  // Deletes every job of kind INSPECT, ended or not.
  virtual absl::Status DeleteInternalJobs() = 0;

  // The event's sequence must be greater than every earlier one of the job.
  virtual absl::Status AppendEvent(absl::string_view job, const lathe::v1::JobEvent& event) = 0;
  // Drops every second progress event of the job, oldest included, newest kept. Gives how many
  // remain.
  virtual absl::StatusOr<int64_t> ThinProgressEvents(absl::string_view job) = 0;

  // A token greater than every one ever given by this database: the fencing token of a lease.
  virtual absl::StatusOr<int64_t> NextLeaseToken() = 0;

  virtual absl::Status InsertRequest(absl::string_view scope, absl::string_view request_id,
                                     const RequestRecord& request) = 0;
  // Forgets requests older than `age` whose resource is gone. Gives how many.
  virtual absl::StatusOr<int64_t> DeleteOrphanRequests(absl::Time older_than) = 0;

  // Replaces what the key had.
  virtual absl::Status PutResult(absl::string_view key, const CachedResult& result) = 0;
  virtual absl::Status DeleteResult(absl::string_view key) = 0;
  // NOT_FOUND when the model is gone.
  virtual absl::Status PutInspect(absl::string_view model, absl::string_view key,
                                  const InspectSummary& summary) = 0;
  virtual absl::Status DeleteInspect(absl::string_view model, absl::string_view key) = 0;
  // Replaces the job's. It goes with the job; one that has ended shall have none.
  virtual absl::Status PutCheckpoint(absl::string_view job, const KeptCheckpoint& checkpoint) = 0;
  virtual absl::Status DeleteCheckpoint(absl::string_view job) = 0;
};

// Thread-safe.
class Store {
 public:
  virtual ~Store() = default;

  // Runs `work` in a transaction, and answers once it is committed and durable. When `work` gives
  // an error, nothing of it is kept and the error is the answer. Transactions never overlap: each
  // sees all earlier ones. `work` runs on the calling thread or on another while the caller waits,
  // and may run again from its start when the database had to undo it: it assigns its outputs,
  // never adds to them. It must be short, must not call the store, and must not wait for a lock
  // that a caller of Write holds.
  virtual absl::Status Write(const std::function<absl::Status(WriteTransaction&)>& work) = 0;

  // Runs `work` on the calling thread in a snapshot that contains every transaction acknowledged
  // before. Must not call the store.
  virtual absl::Status Read(const std::function<absl::Status(ReadTransaction&)>& work) = 0;
};

}  // namespace lathe::server

#endif  // LATHE_SERVER_STORE_STORE_H_
