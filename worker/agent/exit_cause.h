// What the end of a job process means for its attempt. Pure.
#ifndef LATHE_WORKER_AGENT_EXIT_CAUSE_H_
#define LATHE_WORKER_AGENT_EXIT_CAUSE_H_

#include <string>

#include "absl/status/status.h"
#include "lathe/v1/jobs.pb.h"
#include "worker/agent/job_process.h"

namespace lathe::worker {

// How an attempt ended.
struct AttemptEnd {
  enum class Kind { kSucceeded, kFailed, kCancelled, kInterrupted, kLeaseLost };
  Kind kind = Kind::kFailed;
  // Label of lathe_worker_exits_total: one of kExitCauses.
  std::string cause;
  // For kFailed.
  lathe::v1::JobErrorReason reason = lathe::v1::JOB_ERROR_REASON_UNSPECIFIED;
  std::string message;
  bool transient = false;
};

inline constexpr const char* kExitCauses[] = {
    "ok",        "error",       "oom",        "crash",       "hang",     "deadline",
    "cancelled", "interrupted", "lease_lost", "not_started", "disk_full"};

// - Told a result, exit 0: kSucceeded; also when a stop came too late to matter (but a cancellation
//   or a lost lease).
// - Told an error, exit 1: the engine's reason; INVALID_*, UNSUPPORTED_OP and bugs are permanent,
//   DISK_FULL, memory (WORKER_OOM_KILLED), input and output are transient.
// - kExitOutOfMemory, SIGKILL from elsewhere, the memory watch, an abort on bad_alloc:
//   WORKER_OOM_KILLED, transient.
// - SIGXCPU, past max_run: RUN_DEADLINE, permanent: it would take as long again.
// - Hung: WORKER_CRASHED, transient.
// - Any other signal or exit code: WORKER_CRASHED, transient, with the signal's name and the last
//   output.
AttemptEnd ClassifyExit(const JobExit& exit, const JobProcessOptions& options);

// A failure before or after the process: fetching inputs, sending results. NOT_FOUND is
// BLOB_MISSING, permanent; a full disk, here or at the server, is DISK_FULL, transient; everything
// else is INTERNAL, and transient but for INVALID_ARGUMENT.
AttemptEnd ClassifyTransferError(const absl::Status& status);

}  // namespace lathe::worker

#endif  // LATHE_WORKER_AGENT_EXIT_CAUSE_H_
