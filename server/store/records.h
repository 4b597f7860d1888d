// What the metadata store keeps. User-visible resources are the generated messages themselves; a
// record adds what the server alone needs. Times are absl::Time, kept to the microsecond.
#ifndef LATHE_SERVER_STORE_RECORDS_H_
#define LATHE_SERVER_STORE_RECORDS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "lathe/v1/datasets.pb.h"
#include "lathe/v1/jobs.pb.h"
#include "lathe/v1/models.pb.h"
#include "lathe/v1/workers.pb.h"

namespace lathe::server {

// A job with its server-side state. `job.name` is its identity.
struct JobRecord {
  // Position in order of creation, given by the store on insertion; never reused.
  int64_t order = 0;
  lathe::v1::Job job;
  // COMPRESS jobs are users' jobs, evaluations among them (`attempt.kind` tells); INSPECT jobs are
  // internal and never listed.
  lathe::v1::AttemptKind kind = lathe::v1::ATTEMPT_KIND_COMPRESS;
  // Owner; "" while the server has one tenant.
  std::string tenant;
  // What a worker gets, without job, token and attempt number. Holding files and digests here keeps
  // the job runnable after its model or dataset was deleted.
  lathe::v1::Attempt attempt;

  // The lease of the running attempt; 0 when there is none.
  int64_t lease_token = 0;
  // Attempts ever begun, interrupted ones included; numbers attempts in logs. (Job.attempt_count
  // leaves those out.)
  int32_t attempts_begun = 0;
  // When the present wait in the queue began, and how long earlier waits took together: for
  // max_pending_duration.
  absl::Time queued_time = absl::UnixEpoch();
  absl::Duration pending_spent = absl::ZeroDuration();
  // When the running attempt began.
  absl::Time attempt_time = absl::UnixEpoch();

  // Token and outcome of the last completed attempt, so that repeating a completion is OK.
  int64_t completed_token = 0;
  std::string completed_outcome;

  // Digest of the text table beside job.result().report_digest().
  std::string report_text_digest;

  // Bounds on what a job may write.
  int64_t log_lines = 0;
  int64_t log_bytes = 0;
  int64_t progress_events = 0;
};

// The result of a finished job, found again by the cache key of another one
// (server/jobs/cache_key.h).
struct CachedResult {
  lathe::v1::JobResult result;
  std::string report_text_digest;
};

// The state of a running job's training, for its next attempt.
struct KeptCheckpoint {
  std::string digest;
  int64_t size_bytes = 0;
  // Of the attempt that saved it.
  int64_t lease_token = 0;
};

// The kept answer of an inspection.
struct InspectSummary {
  std::string summary_digest;  // blob: JSON
  std::string text_digest;     // blob: text for people
};

// A request that was answered: repeating it gives the same resource.
struct RequestRecord {
  // SHA-256 of the request's body.
  std::string fingerprint;
  // "jobs/{id}", "models/{id}", "datasets/{id}".
  std::string resource;
};

// One page of resources, newest first. `next_before` is the position to go on from; 0 after the
// last page.
template <typename T>
struct Page {
  std::vector<T> items;
  int64_t next_before = 0;
};

struct JobFilter {
  // JOB_STATE_UNSPECIFIED: any.
  lathe::v1::JobState state = lathe::v1::JOB_STATE_UNSPECIFIED;
  // "models/{id}"; "": any.
  std::string model;
};

}  // namespace lathe::server

#endif  // LATHE_SERVER_STORE_RECORDS_H_
