#include "worker/agent/exit_cause.h"

#include <signal.h>
#include <string.h>

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/file_error.h"
#include "common/status_reason.h"

namespace lathe::worker {
namespace {

using lathe::v1::JobErrorReason;

AttemptEnd Failed(const char* cause, JobErrorReason reason, bool transient, std::string message) {
  return {AttemptEnd::Kind::kFailed, cause, reason, std::move(message), transient};
}

std::string Mebibytes(int64_t bytes) {
  return absl::StrFormat("%.0f MiB", static_cast<double>(bytes) / (1 << 20));
}

// " in stage quantize_weights", or nothing.
std::string InStage(const JobExit& exit) {
  return exit.last_stage.empty() ? "" : absl::StrCat(" in stage ", exit.last_stage);
}

std::string LastOutput(const JobExit& exit) {
  std::string out;
  const size_t shown = std::min<size_t>(exit.last_output.size(), 5);
  for (size_t i = exit.last_output.size() - shown; i < exit.last_output.size(); ++i) {
    absl::StrAppend(&out, out.empty() ? "; last output: " : " | ", exit.last_output[i]);
  }
  return out;
}

std::string SignalName(int number) {
  const char* abbreviation = sigabbrev_np(number);
  const char* description = sigdescr_np(number);
  if (abbreviation == nullptr) return absl::StrCat("signal ", number);
  return absl::StrCat("SIG", abbreviation, " (", description, ")");
}

AttemptEnd OutOfMemory(const JobExit& exit, const JobProcessOptions& options,
                       const std::string& how) {
  std::string message =
      absl::StrCat(how, InStage(exit), "; peak resident memory ", Mebibytes(exit.peak_rss_bytes));
  if (options.limits.memory_bytes > 0) {
    absl::StrAppend(&message, ", limit ", Mebibytes(options.limits.memory_bytes));
  }
  absl::StrAppend(&message, "; give the worker more memory (--memory-limit-mb, or fewer --slots)");
  return Failed("oom", lathe::v1::JOB_ERROR_REASON_WORKER_OOM_KILLED, true, std::move(message));
}

AttemptEnd CpuLimit(const JobExit& exit, const JobProcessOptions& options) {
  return Failed("deadline", lathe::v1::JOB_ERROR_REASON_RUN_DEADLINE, false,
                absl::StrFormat("the job process used %.0f s of processor time%s, the worker's "
                                "limit is %d s (--cpu-seconds-limit)",
                                exit.cpu_seconds, InStage(exit), options.limits.cpu_seconds));
}

AttemptEnd OrderlyError(const JobExit& exit, const JobProcessOptions& options) {
  const ErrorEvent& error = *exit.error;
  if (error.code == absl::StatusCode::kCancelled) {
    return Failed("error", lathe::v1::JOB_ERROR_REASON_INTERNAL, true,
                  "the job process was told to stop by somebody other than its worker");
  }
  for (const JobErrorReason reason :
       {lathe::v1::JOB_ERROR_REASON_INVALID_MODEL, lathe::v1::JOB_ERROR_REASON_INVALID_RECIPE,
        lathe::v1::JOB_ERROR_REASON_INVALID_DATASET, lathe::v1::JOB_ERROR_REASON_UNSUPPORTED_OP,
        lathe::v1::JOB_ERROR_REASON_DIVERGED}) {
    if (lathe::v1::JobErrorReason_Name(reason) == absl::StrCat("JOB_ERROR_REASON_", error.reason)) {
      return Failed("error", reason, false, error.message);
    }
  }
  if (error.reason == kDiskFull) {
    return Failed("disk_full", lathe::v1::JOB_ERROR_REASON_DISK_FULL, true, error.message);
  }
  switch (error.code) {
    case absl::StatusCode::kResourceExhausted:
      return OutOfMemory(exit, options, error.message);
    case absl::StatusCode::kInvalidArgument:
      return Failed("error", lathe::v1::JOB_ERROR_REASON_INVALID_MODEL, false, error.message);
    case absl::StatusCode::kUnimplemented:
      return Failed("error", lathe::v1::JOB_ERROR_REASON_UNSUPPORTED_OP, false, error.message);
    case absl::StatusCode::kInternal:
      return Failed("error", lathe::v1::JOB_ERROR_REASON_INTERNAL, false, error.message);
    default:  // input and output
      return Failed("error", lathe::v1::JOB_ERROR_REASON_INTERNAL, true, error.message);
  }
}

bool AbortedOnBadAlloc(const JobExit& exit) {
  if (exit.code != SIGABRT) return false;
  for (const std::string& line : exit.last_output) {
    if (absl::StrContains(line, "bad_alloc")) return true;
  }
  return false;
}

AttemptEnd Signaled(const JobExit& exit, const JobProcessOptions& options) {
  const bool cpu_spent = options.limits.cpu_seconds > 0 &&
                         exit.cpu_seconds >= static_cast<double>(options.limits.cpu_seconds);
  if (exit.code == SIGXCPU || (exit.code == SIGKILL && cpu_spent)) return CpuLimit(exit, options);
  if (exit.code == SIGKILL) {
    return OutOfMemory(exit, options,
                       "the job process was killed from outside, most likely by the kernel for "
                       "lack of memory,");
  }
  if (AbortedOnBadAlloc(exit)) {
    return OutOfMemory(exit, options, "the job process could not get more memory");
  }
  return Failed("crash", lathe::v1::JOB_ERROR_REASON_WORKER_CRASHED, true,
                absl::StrCat("the job process was ended by ", SignalName(exit.code), InStage(exit),
                             LastOutput(exit)));
}

}  // namespace

AttemptEnd ClassifyExit(const JobExit& exit, const JobProcessOptions& options) {
  if (exit.stop_cause == StopCause::kLeaseLost) {
    return {AttemptEnd::Kind::kLeaseLost, "lease_lost", {}, "", false};
  }
  if (exit.stop_cause == StopCause::kCancelled) {
    return {AttemptEnd::Kind::kCancelled, "cancelled", {}, "", false};
  }
  if (!exit.start_error.ok()) {
    return Failed("not_started", lathe::v1::JOB_ERROR_REASON_INTERNAL, true,
                  std::string(exit.start_error.message()));
  }
  if (!exit.signaled && exit.code == kExitOk && exit.result.has_value()) {
    return {AttemptEnd::Kind::kSucceeded, "ok", {}, "", false};
  }
  if (exit.stop_cause == StopCause::kInterrupted) {
    return {AttemptEnd::Kind::kInterrupted, "interrupted", {}, "", false};
  }
  if (!exit.signaled && exit.code == kExitOutOfMemory) {
    return OutOfMemory(exit, options, "the job process could not get more memory");
  }
  if (!exit.signaled && exit.code == kExitError && exit.error.has_value()) {
    return OrderlyError(exit, options);
  }
  switch (exit.stop_cause) {
    case StopCause::kMemory:
      return OutOfMemory(exit, options, "the job process was killed for using too much memory");
    case StopCause::kDeadline:
      return Failed("deadline", lathe::v1::JOB_ERROR_REASON_RUN_DEADLINE, false,
                    absl::StrCat("the attempt ran for longer than its max_run_duration of ",
                                 absl::FormatDuration(options.max_run), InStage(exit)));
    case StopCause::kHung:
      return Failed("hang", lathe::v1::JOB_ERROR_REASON_WORKER_CRASHED, true,
                    absl::StrCat("the job process hung: it told nothing for ",
                                 absl::FormatDuration(options.hang_after), " or more",
                                 InStage(exit), LastOutput(exit)));
    default:
      break;
  }
  if (exit.signaled) return Signaled(exit, options);
  return Failed("crash", lathe::v1::JOB_ERROR_REASON_WORKER_CRASHED, true,
                absl::StrCat("the job process ended with exit code ", exit.code,
                             " and without a result", InStage(exit), LastOutput(exit)));
}

AttemptEnd ClassifyTransferError(const absl::Status& status) {
  if (status.code() == absl::StatusCode::kNotFound) {
    return Failed("error", lathe::v1::JOB_ERROR_REASON_BLOB_MISSING, false,
                  std::string(status.message()));
  }
  if (const std::string reason = ReasonOf(status);
      reason == kDiskFull || reason == "STORAGE_FULL") {  // ours, or one of the server's two
    return Failed("disk_full", lathe::v1::JOB_ERROR_REASON_DISK_FULL, true,
                  std::string(status.message()));
  }
  const bool transient = status.code() != absl::StatusCode::kInvalidArgument;
  return Failed("error", lathe::v1::JOB_ERROR_REASON_INTERNAL, transient,
                std::string(status.message()));
}

}  // namespace lathe::worker
