// Jobs from creation to their end: the heart of the server, behind the RPC layer and in front of
// the store.
//
// The store is the truth: every transition is a transaction that reads the job, applies the state
// machine (server/jobs/state_machine.h) and writes it; what it acknowledges is durable. In memory
// there is only what can be rebuilt: the queue, the leases' expiry, who waits for what. The mutex
// is never held across a transaction, so that writes share commits.
#ifndef LATHE_SERVER_JOBS_JOB_SERVICE_H_
#define LATHE_SERVER_JOBS_JOB_SERVICE_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/clock.h"
#include "common/ids.h"
#include "lathe/v1/jobs.pb.h"
#include "lathe/v1/workers.pb.h"
#include "server/jobs/backoff.h"
#include "server/jobs/library.h"
#include "server/jobs/observer.h"
#include "server/store/store.h"

namespace lathe::server {

struct JobServiceOptions {
  // A worker that is silent for this long loses its attempts.
  absl::Duration lease_duration = absl::Seconds(15);
  int max_attempts = 3;
  BackoffOptions backoff;
  absl::Duration default_max_run_duration = absl::Hours(24);
  // How long past max_run_duration the server waits for the worker's own report before it ends the
  // attempt itself.
  absl::Duration run_deadline_grace = absl::Seconds(60);
  // Least time between two stored progress events of a job; what comes faster is merged into the
  // next.
  absl::Duration progress_interval = absl::Milliseconds(200);
  // Progress events kept a job; older ones are thinned out.
  int64_t max_progress_events = 1000;
  // Log a job may write, over all attempts; one last line says when it was cut.
  int64_t max_log_lines = 10'000;
  int64_t max_log_bytes = 1 << 20;
  // Results that equal an earlier job's are taken from it.
  bool use_result_cache = true;
  // The server's own build id: part of the cache key of a new job.
  std::string build_id;
  // Deletes a blob that was a checkpoint and that nothing names any more, without waiting for the
  // collector: a training leaves one a minute. May be empty.
  std::function<void(const std::string& digest)> discard_blob;
};

// How a blocking call waits. `timeout` is real time. `cancelled` (may be empty) is asked at every
// wake-up and at least twice a second: true ends the call with CANCELLED.
struct WaitOptions {
  absl::Duration timeout = absl::ZeroDuration();
  std::function<bool()> cancelled;
};

struct CreateJobArgs {
  // The user's fields only; those the server sets are ignored. Recipe, ranges and labels have been
  // validated by the caller.
  lathe::v1::Job job;
  // CanonicalJson() of the recipe.
  std::string recipe_json;
  // "" for none.
  std::string request_id;
  bool validate_only = false;
  std::string tenant;
};

struct EventBatch {
  std::vector<lathe::v1::JobEvent> events;
  // The job has ended and `events` holds its last: nothing follows.
  bool ended = false;
};

struct LogBatch {
  std::vector<lathe::v1::JobLog> lines;
  // As EventBatch::ended.
  bool ended = false;
};

struct ReportDigests {
  std::string report_digest;  // report.json
  std::string text_digest;    // the table for people; "" when there is none
};

// Numbers for gauges.
struct JobStats {
  // Users' jobs by JobState.
  std::map<lathe::v1::JobState, int64_t> jobs;
  // How long the oldest job that could run now has waited; zero when there is none.
  absl::Duration oldest_queued;
  std::map<lathe::v1::WorkerState, int64_t> workers;
  int64_t busy_slots = 0;
  int64_t free_slots = 0;  // of READY workers
};

// Thread-safe. Job names that do not exist are NOT_FOUND (reason JOB_NOT_FOUND). After Shutdown
// blocking calls answer UNAVAILABLE (reason SHUTTING_DOWN).
class JobService {
 public:
  // Recovers: pending jobs are queued again; running ones keep their lease for one lease_duration,
  // in which their worker may come back with its token; internal inspect jobs of the last life are
  // dropped. All pointers must outlive the service; `observer` may be nullptr. Reads every
  // unfinished job.
  static absl::StatusOr<std::unique_ptr<JobService>> Create(JobServiceOptions options, Store* store,
                                                            BlobSizes* blobs, const Clock* clock,
                                                            IdGenerator* ids, RandomSource* random,
                                                            JobObserver* observer);
  ~JobService();

  // --- For users ---

  // FAILED_PRECONDITION with reason MODEL_NOT_FOUND or DATASET_NOT_FOUND and the field;
  // INVALID_ARGUMENT (reason REQUEST_ID_REUSED) when the request id was used with another body.
  // With validate_only the answer has no name and nothing is kept. A job whose result is known is
  // answered SUCCEEDED at once, with result.from_cache.
  absl::StatusOr<lathe::v1::Job> CreateJob(const CreateJobArgs& args);
  absl::StatusOr<lathe::v1::Job> GetJob(absl::string_view name);
  absl::StatusOr<lathe::v1::ListJobsResponse> ListJobs(const lathe::v1::ListJobsRequest& request);
  absl::StatusOr<lathe::v1::Job> CancelJob(absl::string_view name);
  // FAILED_PRECONDITION (reason JOB_NOT_ENDED) unless it has ended. Never answered from the result
  // cache. A model or dataset deleted meanwhile gives MODEL_NOT_FOUND or DATASET_NOT_FOUND.
  absl::StatusOr<lathe::v1::Job> RetryJob(absl::string_view name, const std::string& request_id);
  absl::Status DeleteJob(absl::string_view name);

  // The job once it has ended, or as it is when the time is up.
  absl::StatusOr<lathe::v1::Job> WaitJob(absl::string_view name, const WaitOptions& wait);
  // Events after a sequence number: at least one, or none when the time is up or the job has ended.
  // At most 256 a call.
  absl::StatusOr<EventBatch> NextEvents(absl::string_view name, int64_t after_sequence,
                                        const WaitOptions& wait);
  absl::StatusOr<LogBatch> NextLogs(absl::string_view name, int64_t after_sequence,
                                    const WaitOptions& wait);
  // FAILED_PRECONDITION (reason NO_REPORT) while there is none.
  absl::StatusOr<ReportDigests> GetReport(absl::string_view name);

  // The kept summary of a model, or one made now by a worker; callers that ask for the same wait
  // for the same job. DEADLINE_EXCEEDED (reason INSPECT_TIMEOUT) when the time is up (asking again
  // joins the job); INVALID_ARGUMENT with the JobErrorReason as reason when the model cannot be
  // read; NOT_FOUND (MODEL_NOT_FOUND).
  absl::StatusOr<InspectSummary> InspectModel(absl::string_view model,
                                              const std::map<std::string, int64_t>& bindings,
                                              const WaitOptions& wait);

  // --- For workers ---

  // `wait.timeout` is the request's max_wait. INVALID_ARGUMENT on a bad worker id or slot count.
  absl::StatusOr<lathe::v1::SynchronizeResponse> Synchronize(
      const lathe::v1::SynchronizeRequest& request, const WaitOptions& wait);
  // ABORTED (reason STALE_LEASE) when the token is not the job's lease; FAILED_PRECONDITION (reason
  // BLOB_MISSING) when a success names a blob that is not stored (upload it and repeat).
  absl::StatusOr<lathe::v1::CompleteAttemptResponse> CompleteAttempt(
      const lathe::v1::CompleteAttemptRequest& request);
  // Keeps the state of a running attempt's training for the job's next one. ABORTED (reason
  // STALE_LEASE) and FAILED_PRECONDITION (reason BLOB_MISSING) as CompleteAttempt; INVALID_ARGUMENT
  // for one larger than limits::kMaxCheckpointBytes.
  absl::StatusOr<lathe::v1::SaveCheckpointResponse> SaveCheckpoint(
      const lathe::v1::SaveCheckpointRequest& request);
  lathe::v1::ListWorkersResponse ListWorkers();
  // A worker is known to be dead (its process was reaped): its attempts end at the next Tick, as
  // WORKER_CRASHED, instead of when their leases expire, and it is given no others. `cause` is for
  // people: "signal 9 (Killed)". The id must not be used again.
  void WorkerDied(absl::string_view worker_id, absl::string_view cause);

  // --- For the server ---

  // Expires leases and deadlines, queues due retries, writes merged progress, tidies. Call at least
  // once a second (JobTicker does).
  void Tick();
  // Drain: no further attempt is handed out; running ones may complete. Cannot be undone.
  void StopLeasing();
  // Ends all blocking calls. Cannot be undone.
  void Shutdown();
  absl::StatusOr<JobStats> Stats();
  // Blobs that must not be collected. A blob uploaded but not yet named by a resource is in neither
  // list: the collector must spare young blobs, and ask IsReferenced again right before it deletes
  // one.
  absl::StatusOr<std::vector<std::string>> ReferencedDigests();
  absl::StatusOr<bool> IsReferenced(absl::string_view digest);

 private:
  class Impl;
  explicit JobService(std::unique_ptr<Impl> impl);
  const std::unique_ptr<Impl> impl_;
};

// Calls JobService::Tick from a thread of its own every `interval` until destroyed.
class JobTicker {
 public:
  JobTicker(JobService* service, absl::Duration interval);
  ~JobTicker();

 private:
  class Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace lathe::server

#endif  // LATHE_SERVER_JOBS_JOB_SERVICE_H_
