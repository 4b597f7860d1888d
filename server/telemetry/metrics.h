// Every metric of the server, by name, and what feeds it. Never labelled by job.
#ifndef LATHE_SERVER_TELEMETRY_METRICS_H_
#define LATHE_SERVER_TELEMETRY_METRICS_H_

#include <prometheus/registry.h>

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/jobs/job_service.h"
#include "server/jobs/observer.h"

namespace lathe::server {

namespace metric {
inline constexpr char kJobsSubmitted[] = "lathe_jobs_submitted_total";
inline constexpr char kJobsCompleted[] = "lathe_jobs_completed_total";
inline constexpr char kJobsRetried[] = "lathe_jobs_retried_total";
inline constexpr char kJobs[] = "lathe_jobs";
inline constexpr char kQueueOldestAge[] = "lathe_queue_oldest_age_seconds";
inline constexpr char kJobQueueDuration[] = "lathe_job_queue_duration_seconds";
inline constexpr char kJobRunDuration[] = "lathe_job_run_duration_seconds";
inline constexpr char kLeaseExpirations[] = "lathe_lease_expirations_total";
inline constexpr char kStaleCompletions[] = "lathe_stale_completions_rejected_total";
inline constexpr char kWorkers[] = "lathe_workers";
inline constexpr char kWorkerSlots[] = "lathe_worker_slots";
inline constexpr char kWorkerExits[] = "lathe_worker_exits_total";
inline constexpr char kWorkerPeakRss[] = "lathe_worker_peak_rss_bytes";
inline constexpr char kUploadBytes[] = "lathe_upload_bytes_total";
inline constexpr char kUploadResumes[] = "lathe_upload_resumes_total";
inline constexpr char kDigestMismatches[] = "lathe_digest_mismatches_total";
inline constexpr char kStoreBytes[] = "lathe_store_bytes";
inline constexpr char kCacheLookups[] = "lathe_cache_lookups_total";
inline constexpr char kSqliteCommitDuration[] = "lathe_sqlite_commit_duration_seconds";
inline constexpr char kRpcStarted[] = "lathe_rpc_started_total";
inline constexpr char kRpcDuration[] = "lathe_rpc_duration_seconds";
inline constexpr char kCompressionRatio[] = "lathe_compression_ratio";
inline constexpr char kBuildInfo[] = "lathe_build_info";
}  // namespace metric

// Thread-safe.
class Metrics : public JobObserver {
 public:
  Metrics();
  ~Metrics() override;

  std::shared_ptr<prometheus::Registry> registry() const;

  // JobObserver.
  void JobSubmitted() override;
  void JobCompleted(absl::string_view method, absl::string_view outcome,
                    absl::string_view reason) override;
  void AttemptRetried(absl::string_view reason) override;
  void QueueDuration(absl::Duration waited) override;
  void RunDuration(absl::Duration ran) override;
  void LeaseExpired() override;
  void StaleCompletion() override;
  void CacheLookup(bool hit) override;
  void PeakRss(int64_t bytes) override;
  void CompressionRatio(absl::string_view method, double ratio) override;
  void WorkerExit(absl::string_view cause) override;

  // Calls. `method` is one of the interface's.
  void RpcStarted(absl::string_view method);
  void RpcEnded(absl::string_view method, absl::StatusCode code, absl::Duration took);
  void Uploaded(int64_t bytes);
  void UploadResumed();
  void DigestMismatch();
  void Committed(absl::Duration took);

  // Gauges, refreshed at each scrape.
  void SetJobStats(const JobStats& stats);
  void SetStoreBytes(int64_t database_bytes, int64_t blob_bytes);

 private:
  struct Families;
  const std::unique_ptr<Families> families_;
};

}  // namespace lathe::server

#endif  // LATHE_SERVER_TELEMETRY_METRICS_H_
