// The life of a job, as pure functions: what may happen in which state, and what it does. No clock,
// no store, no thread.
//
//   PENDING -> RUNNING -> SUCCEEDED | FAILED
//   RUNNING -> PENDING      an attempt failed transiently, was interrupted, or its lease was lost,
//   and attempts are left RUNNING -> FAILED       ... and none are left; or the failure is
//   permanent; or the run deadline passed PENDING -> CANCELLED    at once RUNNING -> CANCELLING ->
//   CANCELLED   once the worker has stopped or its lease is lost PENDING -> FAILED       on the
//   pending deadline
// SUCCEEDED, FAILED and CANCELLED never change.
#ifndef LATHE_SERVER_JOBS_STATE_MACHINE_H_
#define LATHE_SERVER_JOBS_STATE_MACHINE_H_

#include <array>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "lathe/v1/jobs.pb.h"

namespace lathe::server {

enum class JobEventKind {
  kLeased,           // a worker was given the attempt
  kSucceeded,        // the attempt's result is stored
  kFailedTransient,  // the attempt failed; another may succeed
  kFailedPermanent,  // the attempt failed, and every other would
  kInterrupted,      // the worker drained
  kStopped,          // the worker says it stopped as told
  kLeaseLost,        // the worker was silent for too long
  kRunDeadline,      // the attempt ran for too long and its worker did not say so
  kPendingDeadline,  // the job waited for too long
  kCancelRequested,  // the user wants it to end
};
inline constexpr std::array kAllJobEvents = {
    JobEventKind::kLeased,          JobEventKind::kSucceeded,   JobEventKind::kFailedTransient,
    JobEventKind::kFailedPermanent, JobEventKind::kInterrupted, JobEventKind::kStopped,
    JobEventKind::kLeaseLost,       JobEventKind::kRunDeadline, JobEventKind::kPendingDeadline,
    JobEventKind::kCancelRequested};

// "leased", for messages.
absl::string_view JobEventKindName(JobEventKind kind);

struct JobAttempts {
  // Attempts begun that count, the running one included.
  int counted = 0;
  int max = 0;
};

// What the caller must do, besides storing the state.
struct JobTransition {
  lathe::v1::JobState next = lathe::v1::JOB_STATE_UNSPECIFIED;
  // The attempt begins and counts.
  bool begin_attempt = false;
  // The attempt is over: release its lease.
  bool end_attempt = false;
  // The attempt shall not count after all.
  bool uncount_attempt = false;
  // Back to the queue: at once, or after the backoff.
  bool requeue_now = false;
  bool requeue_after_backoff = false;
  // The worker must be told to stop.
  bool stop_worker = false;
  // Make the result a resource. Without it, a result is thrown away.
  bool publish_result = false;
  // The job has failed because no attempts are left.
  bool attempts_exhausted = false;
  // The state is terminal: set the end time.
  bool ended = false;
  // Nothing changed: answer with the job as it is, write nothing.
  bool unchanged = false;
};

bool IsTerminal(lathe::v1::JobState state);

// FAILED_PRECONDITION naming state and event when the event cannot happen in the state; nothing
// must change then. kCancelRequested never fails: on a job that has ended or is being cancelled it
// is `unchanged`.
absl::StatusOr<JobTransition> ApplyJobEvent(lathe::v1::JobState state, JobEventKind event,
                                            JobAttempts attempts);

}  // namespace lathe::server

#endif  // LATHE_SERVER_JOBS_STATE_MACHINE_H_
