// What happened in the job service, for metrics. Every call returns at once, may come from any
// thread, and must not call back. The defaults do nothing. Arguments come from small closed sets
// (never an id), so that they can be labels.
#ifndef LATHE_SERVER_JOBS_OBSERVER_H_
#define LATHE_SERVER_JOBS_OBSERVER_H_

#include <cstdint>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace lathe::server {

class JobObserver {
 public:
  virtual ~JobObserver() = default;

  // lathe_jobs_submitted_total. Users' jobs only, cached ones included.
  virtual void JobSubmitted() {}
  // lathe_jobs_completed_total. `method`: the recipe's method, "pipeline" when it has several.
  // `outcome`: "succeeded", "failed", "cancelled". `reason`: a JobErrorReason without its prefix
  // ("WORKER_CRASHED"), or "".
  virtual void JobCompleted(absl::string_view method, absl::string_view outcome,
                            absl::string_view reason) {}
  // lathe_jobs_retried_total: an attempt failed and another follows.
  virtual void AttemptRetried(absl::string_view reason) {}
  // lathe_job_queue_duration_seconds: from being queued (or due again) to the start of the attempt.
  virtual void QueueDuration(absl::Duration waited) {}
  // lathe_job_run_duration_seconds: one attempt, from lease to completion.
  virtual void RunDuration(absl::Duration ran) {}
  // lathe_lease_expirations_total
  virtual void LeaseExpired() {}
  // lathe_stale_completions_rejected_total
  virtual void StaleCompletion() {}
  // lathe_cache_lookups_total{result}: hit or miss.
  virtual void CacheLookup(bool hit) {}
  // lathe_worker_peak_rss_bytes: of a completed attempt's job process.
  virtual void PeakRss(int64_t bytes) {}
  // lathe_compression_ratio{method}: file bytes before over after.
  virtual void CompressionRatio(absl::string_view method, double ratio) {}
  // lathe_worker_exits_total{cause}: a failed attempt's reason when its process died
  // ("WORKER_OOM_KILLED", "WORKER_CRASHED", "RUN_DEADLINE").
  virtual void WorkerExit(absl::string_view cause) {}
};

}  // namespace lathe::server

#endif  // LATHE_SERVER_JOBS_OBSERVER_H_
