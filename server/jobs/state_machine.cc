#include "server/jobs/state_machine.h"

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace lathe::server {
namespace {

using lathe::v1::JobState;

absl::Status Refuse(JobState state, JobEventKind event) {
  return absl::FailedPreconditionError(absl::StrCat(
      "a job in state ", lathe::v1::JobState_Name(state), " cannot be ", JobEventKindName(event)));
}

JobTransition Unchanged(JobState state) {
  JobTransition t;
  t.next = state;
  t.unchanged = true;
  return t;
}

JobTransition End(JobState next) {
  JobTransition t;
  t.next = next;
  t.ended = true;
  return t;
}

JobTransition EndAttempt(JobState next) {
  JobTransition t = End(next);
  t.end_attempt = true;
  return t;
}

JobTransition RetryOrFail(JobAttempts attempts) {
  if (attempts.counted >= attempts.max) {
    JobTransition t = EndAttempt(lathe::v1::JOB_STATE_FAILED);
    t.attempts_exhausted = true;
    return t;
  }
  JobTransition t;
  t.next = lathe::v1::JOB_STATE_PENDING;
  t.end_attempt = true;
  t.requeue_after_backoff = true;
  return t;
}

absl::StatusOr<JobTransition> FromPending(JobEventKind event) {
  switch (event) {
    case JobEventKind::kLeased: {
      JobTransition t;
      t.next = lathe::v1::JOB_STATE_RUNNING;
      t.begin_attempt = true;
      return t;
    }
    case JobEventKind::kCancelRequested:
      return End(lathe::v1::JOB_STATE_CANCELLED);
    case JobEventKind::kPendingDeadline:
      return End(lathe::v1::JOB_STATE_FAILED);
    default:
      return Refuse(lathe::v1::JOB_STATE_PENDING, event);
  }
}

absl::StatusOr<JobTransition> FromRunning(JobEventKind event, JobAttempts attempts) {
  switch (event) {
    case JobEventKind::kSucceeded: {
      JobTransition t = EndAttempt(lathe::v1::JOB_STATE_SUCCEEDED);
      t.publish_result = true;
      return t;
    }
    case JobEventKind::kFailedTransient:
    case JobEventKind::kLeaseLost:
    case JobEventKind::kStopped:  // nobody told it to: the attempt failed, and a worker that does
                                  // so forever must not loop
      return RetryOrFail(attempts);
    case JobEventKind::kFailedPermanent:
    case JobEventKind::kRunDeadline:
      return EndAttempt(lathe::v1::JOB_STATE_FAILED);
    case JobEventKind::kInterrupted: {
      JobTransition t;
      t.next = lathe::v1::JOB_STATE_PENDING;
      t.end_attempt = true;
      t.uncount_attempt = true;
      t.requeue_now = true;
      return t;
    }
    case JobEventKind::kCancelRequested: {
      JobTransition t;
      t.next = lathe::v1::JOB_STATE_CANCELLING;
      t.stop_worker = true;
      return t;
    }
    case JobEventKind::kLeased:
    case JobEventKind::kPendingDeadline:
      return Refuse(lathe::v1::JOB_STATE_RUNNING, event);
  }
  return Refuse(lathe::v1::JOB_STATE_RUNNING, event);
}

absl::StatusOr<JobTransition> FromCancelling(JobEventKind event) {
  switch (event) {
    case JobEventKind::kSucceeded:  // too late: the user was told that it is being cancelled
    case JobEventKind::kFailedTransient:
    case JobEventKind::kFailedPermanent:
    case JobEventKind::kInterrupted:
    case JobEventKind::kStopped:
    case JobEventKind::kLeaseLost:
    case JobEventKind::kRunDeadline:
      return EndAttempt(lathe::v1::JOB_STATE_CANCELLED);
    case JobEventKind::kCancelRequested:
      return Unchanged(lathe::v1::JOB_STATE_CANCELLING);
    case JobEventKind::kLeased:
    case JobEventKind::kPendingDeadline:
      return Refuse(lathe::v1::JOB_STATE_CANCELLING, event);
  }
  return Refuse(lathe::v1::JOB_STATE_CANCELLING, event);
}

}  // namespace

absl::string_view JobEventKindName(JobEventKind kind) {
  switch (kind) {
    case JobEventKind::kLeased:
      return "leased";
    case JobEventKind::kSucceeded:
      return "completed with success";
    case JobEventKind::kFailedTransient:
      return "completed with a transient failure";
    case JobEventKind::kFailedPermanent:
      return "completed with a permanent failure";
    case JobEventKind::kInterrupted:
      return "interrupted";
    case JobEventKind::kStopped:
      return "stopped";
    case JobEventKind::kLeaseLost:
      return "taken from its worker";
    case JobEventKind::kRunDeadline:
      return "ended by its run deadline";
    case JobEventKind::kPendingDeadline:
      return "ended by its pending deadline";
    case JobEventKind::kCancelRequested:
      return "cancelled";
  }
  return "unknown";
}

bool IsTerminal(JobState state) {
  return state == lathe::v1::JOB_STATE_SUCCEEDED || state == lathe::v1::JOB_STATE_FAILED ||
         state == lathe::v1::JOB_STATE_CANCELLED;
}

absl::StatusOr<JobTransition> ApplyJobEvent(JobState state, JobEventKind event,
                                            JobAttempts attempts) {
  switch (state) {
    case lathe::v1::JOB_STATE_PENDING:
      return FromPending(event);
    case lathe::v1::JOB_STATE_RUNNING:
      return FromRunning(event, attempts);
    case lathe::v1::JOB_STATE_CANCELLING:
      return FromCancelling(event);
    case lathe::v1::JOB_STATE_SUCCEEDED:
    case lathe::v1::JOB_STATE_FAILED:
    case lathe::v1::JOB_STATE_CANCELLED:
      if (event == JobEventKind::kCancelRequested) return Unchanged(state);
      return Refuse(state, event);
    default:
      return Refuse(state, event);
  }
}

}  // namespace lathe::server
