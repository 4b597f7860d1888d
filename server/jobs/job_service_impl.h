// Insides of the job service; include from its .cc files only.
#ifndef LATHE_SERVER_JOBS_JOB_SERVICE_IMPL_H_
#define LATHE_SERVER_JOBS_JOB_SERVICE_IMPL_H_

#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "server/jobs/idempotency.h"
#include "server/jobs/job_queue.h"
#include "server/jobs/job_service.h"
#include "server/jobs/state_machine.h"

namespace lathe::server {

// A running attempt, as memory knows it. The store holds its token; expiry is memory's alone, and
// starts afresh with the server.
struct Lease {
  int64_t token = 0;
  std::string worker;  // "workers/{id}"
  absl::Time expiry;
  absl::Time run_deadline;  // of the server's own check: the worker's limit plus grace
  bool stop_requested = false;
  // How the worker's process ended, when that is known; the lease ends with it.
  std::string death;
  // Not to be told twice in a row: the worker needs a moment to stop.
  absl::Time stop_told = absl::InfinitePast();
};

struct WorkerRecord {
  v1::Worker worker;
  absl::Time last_seen;
  bool draining = false;
  // As Lease::death. Requests it sent before may still arrive; they change nothing.
  std::string death;
  // Attempts it names that are not its own, and when it was told so.
  std::map<std::string, absl::Time> strays_told;
};

// What a worker said last of an attempt's progress, on its way to the store.
struct ProgressMemo {
  v1::JobProgress progress;
  bool dirty = false;
  absl::Time stored = absl::InfinitePast();
  int64_t token = 0;
};

class JobService::Impl {
 public:
  Impl(JobServiceOptions options, Store* store, BlobSizes* blobs, const Clock* clock,
       IdGenerator* ids, RandomSource* random, JobObserver* observer);

  absl::Status Recover();

  absl::StatusOr<v1::Job> CreateJob(const CreateJobArgs& args);
  absl::StatusOr<v1::Job> GetJob(absl::string_view name);
  absl::StatusOr<v1::ListJobsResponse> ListJobs(const v1::ListJobsRequest& request);
  absl::StatusOr<v1::Job> CancelJob(absl::string_view name);
  absl::StatusOr<v1::Job> RetryJob(absl::string_view name, const std::string& request_id);
  absl::Status DeleteJob(absl::string_view name);
  absl::StatusOr<v1::Job> WaitJob(absl::string_view name, const WaitOptions& wait);
  absl::StatusOr<EventBatch> NextEvents(absl::string_view name, int64_t after,
                                        const WaitOptions& wait);
  absl::StatusOr<LogBatch> NextLogs(absl::string_view name, int64_t after, const WaitOptions& wait);
  absl::StatusOr<ReportDigests> GetReport(absl::string_view name);
  absl::StatusOr<InspectSummary> InspectModel(absl::string_view model,
                                              const std::map<std::string, int64_t>& bindings,
                                              const WaitOptions& wait);

  absl::StatusOr<v1::SynchronizeResponse> Synchronize(const v1::SynchronizeRequest& request,
                                                      const WaitOptions& wait);
  absl::StatusOr<v1::CompleteAttemptResponse> CompleteAttempt(
      const v1::CompleteAttemptRequest& request);
  // FAILED_PRECONDITION (BLOB_MISSING) unless all that `success` names is stored; fills in sizes.
  absl::Status CheckStored(v1::AttemptSuccess* success) const;
  absl::StatusOr<v1::SaveCheckpointResponse> SaveCheckpoint(
      const v1::SaveCheckpointRequest& request);
  v1::ListWorkersResponse ListWorkers();
  void WorkerDied(absl::string_view worker_id, absl::string_view cause);

  void Tick();
  void StopLeasing();
  void Shutdown();
  absl::StatusOr<JobStats> Stats();
  Store* store() { return store_; }

 private:
  // --- Creation (job_creation.cc) ---
  // Fills `record` from the user's job; MODEL_NOT_FOUND, DATASET_NOT_FOUND.
  absl::Status Define(ReadTransaction& tx, const v1::Job& user, const std::string& recipe_json,
                      JobRecord* record);
  absl::StatusOr<v1::Job> Insert(const v1::Job& user, const std::string& recipe_json,
                                 const std::string& tenant, const RequestKey& key,
                                 const std::string& retry_of, bool use_cache);
  // Completes the record from the result cache; false when there is nothing fit.
  absl::StatusOr<bool> FromCache(WriteTransaction& tx, JobRecord* record);
  absl::Status PublishModel(WriteTransaction& tx, const JobRecord& record, v1::JobResult* result);

  // --- Transitions (job_transitions.cc) ---
  // What a transition did, for memory and metrics, after its commit.
  struct Change {
    JobRecord record;
    JobTransition transition;
    bool stale = false;
    std::string dropped_checkpoint;  // digest; "": none
  };
  // Applies an event to a job in a transaction: state, attempt bookkeeping, error, times, event.
  // `token` != 0: only when it is the job's lease (ABORTED, STALE_LEASE). `more` may add to the
  // record.
  absl::StatusOr<Change> Apply(
      absl::string_view name, JobEventKind kind, int64_t token, const v1::JobError& error,
      const std::function<absl::Status(WriteTransaction&, JobRecord&, const JobTransition&)>& more);
  // Brings memory in line after a commit, wakes waiters, tells the observer.
  void Settle(const Change& change, JobEventKind kind);
  absl::Status AppendStateEvent(WriteTransaction& tx, JobRecord& record);
  void EnqueueLocked(const JobRecord& record) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Tells those who wait for the job.
  void ChangedLocked(const std::string& job, bool ended) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Drops what memory knows of a job that the store says has ended or is gone.
  void ForgetLocked(const std::string& job) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // The lease of a record that is RUNNING or CANCELLING, beginning now.
  Lease LeaseOf(const JobRecord& record) const;
  void Ended(const JobRecord& record);

  // --- Workers (job_workers.cc) ---
  absl::Status CheckSynchronize(const v1::SynchronizeRequest& request) const;
  void NoteWorker(const v1::SynchronizeRequest& request);
  void CollectStopsLocked(const v1::SynchronizeRequest& request, v1::SynchronizeResponse* response)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::optional<QueuedJob> TakeForLocked(const std::string& worker)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // nullopt: the job cannot be leased any more (it was cancelled meanwhile).
  absl::StatusOr<std::optional<v1::Attempt>> LeaseTo(const QueuedJob& queued,
                                                     const std::string& worker);

  // --- Where training stands (job_checkpoints.cc) ---
  // Takes the checkpoint of a record that has ended away; gives its digest, "" when there is none.
  absl::StatusOr<std::string> DropCheckpoint(WriteTransaction& tx, JobRecord& record);
  void DiscardUnlessNamed(const std::string& digest);

  // --- What attempts say of themselves (job_reports.cc) ---
  void NoteProgressLocked(const v1::RunningAttempt& running) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Progress not yet stored, when there is some and (unless forced) the interval has passed.
  std::optional<v1::JobProgress> TakeProgress(const std::string& job, int64_t token, bool force);
  // Appends events and counts them in `record`, which the caller writes.
  absl::Status AppendReport(WriteTransaction& tx, JobRecord& record,
                            const std::vector<std::string>& lines,
                            const std::optional<v1::JobProgress>& progress);
  absl::Status StoreReport(const std::string& job, int64_t token,
                           const std::vector<std::string>& lines);
  void StoreReports(const v1::SynchronizeRequest& request);

  // Waits until a job's version differs from `seen`; CANCELLED, UNAVAILABLE (shutdown). False on
  // time-out.
  absl::StatusOr<bool> AwaitChange(const std::string& job, int64_t seen, absl::Time give_up,
                                   const WaitOptions& wait);
  int64_t VersionOf(const std::string& job);
  // A user's job; JOB_NOT_FOUND for internal ones, too.
  absl::StatusOr<JobRecord> Find(absl::string_view name);

  const JobServiceOptions options_;
  Store* const store_;
  BlobSizes* const blobs_;
  const Clock* const clock_;
  IdGenerator* const ids_;
  RandomSource* const random_;
  JobObserver* const observer_;

  absl::Mutex mutex_;
  absl::CondVar changed_;  // some job's version
  absl::CondVar work_;     // a job to lease, or an attempt to stop
  JobQueue queue_ ABSL_GUARDED_BY(mutex_);
  // Retries that wait for their time.
  std::map<std::string, QueuedJob> delayed_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, absl::Time> pending_deadlines_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, Lease> leases_ ABSL_GUARDED_BY(mutex_);           // by job
  std::map<std::string, WorkerRecord> workers_ ABSL_GUARDED_BY(mutex_);   // by name
  std::map<std::string, ProgressMemo> progress_ ABSL_GUARDED_BY(mutex_);  // by job
  // Bumped with every event of an unfinished job; gone (0) when it has ended.
  std::map<std::string, int64_t> versions_ ABSL_GUARDED_BY(mutex_);
  int64_t next_version_ ABSL_GUARDED_BY(mutex_) = 1;
  // Inspections under way: model and key -> job.
  std::map<std::pair<std::string, std::string>, std::string> inspecting_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::pair<absl::Time, std::string>> ended_inspections_ ABSL_GUARDED_BY(mutex_);
  absl::Time tidied_ ABSL_GUARDED_BY(mutex_) = absl::InfinitePast();
  bool leasing_ ABSL_GUARDED_BY(mutex_) = true;
  bool shutdown_ ABSL_GUARDED_BY(mutex_) = false;
};

// ABORTED, STALE_LEASE.
absl::Status StaleLease(absl::string_view job, int64_t token);
// NOT_FOUND (reason JOB_NOT_FOUND) for a store's NOT_FOUND; any other status as it is.
absl::Status NoSuchJob(const absl::Status& status, absl::string_view name);
// The recipe's method, or "pipeline" when it has several steps: a bounded label.
std::string MethodLabel(const v1::Job& job);
// An error's reason without the enum's prefix.
std::string ReasonLabel(v1::JobErrorReason reason);

}  // namespace lathe::server

#endif  // LATHE_SERVER_JOBS_JOB_SERVICE_IMPL_H_
