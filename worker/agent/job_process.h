// One job process: start, listen, watch, stop, reap.
#ifndef LATHE_WORKER_AGENT_JOB_PROCESS_H_
#define LATHE_WORKER_AGENT_JOB_PROCESS_H_

#include <atomic>
#include <deque>
#include <functional>
#include <optional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "worker/job/event.h"
#include "worker/job/spec.h"

namespace lathe::worker {

// Why the agent ended a process. The first cause given stays.
enum class StopCause {
  kNone,         // it ended by itself
  kCancelled,    // the server said so
  kInterrupted,  // the worker drains
  kLeaseLost,    // another worker may have the job by now
  kMemory,       // past JobLimits::memory_bytes
  kHung,         // silent, see JobProcessOptions::hang_after
  kDeadline,     // past JobProcessOptions::max_run
};

struct JobProcessOptions {
  std::string job_binary;  // lathe-job
  std::string spec_path;
  JobLimits limits;
  absl::Duration max_run = absl::InfiniteDuration();
  // A process that tells nothing for this long and uses less than 1 % of a processor meanwhile is
  // hung: deadlocked, or stuck in the kernel. One that tells nothing for 12 times as long is hung
  // even if it is busy.
  absl::Duration hang_after = absl::Minutes(10);
  // From SIGTERM to SIGKILL when cancelled. Interrupts and lost leases kill at once: their work is
  // thrown away anyway.
  absl::Duration kill_grace = absl::Seconds(5);
  absl::Duration watch_interval = absl::Milliseconds(100);
};

// How a process ended: facts only. ClassifyExit (exit_cause.h) says what they mean.
struct JobExit {
  absl::Status start_error;  // not OK: there never was a process
  StopCause stop_cause = StopCause::kNone;
  bool signaled = false;
  int code = 0;  // exit code, or the signal's number
  std::optional<ResultEvent> result;
  std::optional<ErrorEvent> error;
  int64_t peak_rss_bytes = 0;
  double cpu_seconds = 0;
  absl::Duration elapsed;
  std::string last_stage;  // of the last progress; may be empty
  std::deque<std::string>
      last_output;       // last lines on standard output and error, at most kLastOutputLines
  bool garbled = false;  // it wrote something that is no event
};

inline constexpr size_t kLastOutputLines = 20;

struct JobCallbacks {
  // From the thread that called Run.
  std::function<void(const ProgressEvent&)> progress;
  // Log events, and each line of standard output and error.
  std::function<void(const std::string&)> log;
  // The state of the training is in its file; may be replaced by the next at any moment.
  std::function<void()> checkpoint = nullptr;
};

class JobProcess {
 public:
  JobProcess(JobProcessOptions options, JobCallbacks callbacks);
  ~JobProcess();
  JobProcess(const JobProcess&) = delete;
  JobProcess& operator=(const JobProcess&) = delete;

  // Starts the process and returns once it has ended and is reaped. Call once. The process dies
  // with the calling thread.
  JobExit Run();

  // Thread-safe; may come before Run.
  void Stop(StopCause cause);
  int64_t peak_rss_bytes() const { return peak_rss_bytes_.load(std::memory_order_relaxed); }

 private:
  struct Pipes;
  absl::Status Start(Pipes* pipes);
  void OnEventLine(absl::string_view line);
  void OnOutputLine(absl::string_view line);
  void Watch();
  void Enforce();
  void SetStopCause(StopCause cause);

  const JobProcessOptions options_;
  const JobCallbacks callbacks_;
  int wake_descriptor_ = -1;  // eventfd: Stop() wakes Run()
  std::atomic<StopCause> stop_cause_{StopCause::kNone};
  std::atomic<int64_t> peak_rss_bytes_{0};

  // Only touched by Run().
  pid_t pid_ = -1;
  JobExit exit_;
  absl::Time start_;
  absl::Time last_event_;
  double cpu_at_last_event_ = 0;
  absl::Time next_watch_;
  absl::Time kill_at_ = absl::InfiniteFuture();
  bool terminated_ = false;  // SIGTERM was sent
};

}  // namespace lathe::worker

#endif  // LATHE_WORKER_AGENT_JOB_PROCESS_H_
