#include "worker/agent/job_process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/agent/job_environment.h"
#include "worker/agent/line_reader.h"
#include "worker/agent/process_usage.h"

namespace lathe::worker {
namespace {

constexpr size_t kMaxOutputLineBytes = 2048;
// How often to look, a millisecond apart, for the end of a process that has closed its pipes.
constexpr int kMaxClosedPolls = 100;

// A steady clock as absl::Time: only differences mean anything. A set system clock must not make a
// job look hung.
absl::Time SteadyNow() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return absl::TimeFromTimespec(now);
}

absl::Status MakePipe(int* read_end, int* write_end) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return absl::ErrnoToStatus(errno, "pipe2");
  fcntl(ends[0], F_SETFL, O_NONBLOCK);
  *read_end = ends[0];
  *write_end = ends[1];
  return absl::OkStatus();
}

int64_t RoundedMillis(absl::Duration d) {
  return std::clamp<int64_t>(absl::ToInt64Milliseconds(absl::Ceil(d, absl::Milliseconds(1))), 0,
                             1000);
}

}  // namespace

// The four ends, each closed once.
struct JobProcess::Pipes {
  int events_read = -1;
  int events_write = -1;
  int output_read = -1;
  int output_write = -1;

  ~Pipes() {
    for (const int fd : {events_read, events_write, output_read, output_write}) {
      if (fd >= 0) close(fd);
    }
  }
};

JobProcess::JobProcess(JobProcessOptions options, JobCallbacks callbacks)
    : options_(std::move(options)),
      callbacks_(std::move(callbacks)),
      wake_descriptor_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

JobProcess::~JobProcess() {
  if (wake_descriptor_ >= 0) close(wake_descriptor_);
}

void JobProcess::SetStopCause(StopCause cause) {
  StopCause none = StopCause::kNone;
  stop_cause_.compare_exchange_strong(none, cause);
}

void JobProcess::Stop(StopCause cause) {
  SetStopCause(cause);
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t n = write(wake_descriptor_, &one, sizeof(one));
}

absl::Status JobProcess::Start(Pipes* pipes) {
  RETURN_IF_ERROR(MakePipe(&pipes->events_read, &pipes->events_write));
  RETURN_IF_ERROR(MakePipe(&pipes->output_read, &pipes->output_write));
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  const absl::Cleanup destroy = [&actions, &attributes] {
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
  };
  // The events last: descriptor 3 may be one of the pipes' ends, and must not be overwritten before
  // it is used.
  posix_spawn_file_actions_adddup2(&actions, pipes->output_write, STDERR_FILENO);
  posix_spawn_file_actions_adddup2(&actions, pipes->events_write, kEventDescriptor);
  posix_spawn_file_actions_adddup2(&actions, STDERR_FILENO, STDOUT_FILENO);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  // A group of its own: a terminal's Ctrl-C is for the worker, which then decides. No inherited
  // signal state.
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setflags(&attributes,
                           POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  const std::vector<std::string> environment = JobEnvironment();
  std::vector<char*> environment_pointers;
  for (const std::string& entry : environment) {
    environment_pointers.push_back(const_cast<char*>(entry.c_str()));
  }
  environment_pointers.push_back(nullptr);
  char* arguments[] = {const_cast<char*>("lathe-job"),
                       const_cast<char*>(options_.spec_path.c_str()), nullptr};
  const int error = posix_spawn(&pid_, options_.job_binary.c_str(), &actions, &attributes,
                                arguments, environment_pointers.data());
  if (error != 0) {
    pid_ = -1;
    return absl::ErrnoToStatus(error, absl::StrCat("cannot start ", options_.job_binary));
  }
  return absl::OkStatus();
}

void JobProcess::OnEventLine(absl::string_view line) {
  absl::StatusOr<JobEvent> event = DecodeJobEvent(line);
  if (!event.ok()) {
    exit_.garbled = true;
    return;
  }
  last_event_ = SteadyNow();
  cpu_at_last_event_ = exit_.cpu_seconds;
  if (auto* progress = std::get_if<ProgressEvent>(&*event)) {
    exit_.last_stage = progress->stage;
    if (callbacks_.progress) callbacks_.progress(*progress);
  } else if (auto* log = std::get_if<LogEvent>(&*event)) {
    if (callbacks_.log) callbacks_.log(log->line);
  } else if (std::holds_alternative<CheckpointEvent>(*event)) {
    if (callbacks_.checkpoint) callbacks_.checkpoint();
  } else if (auto* result = std::get_if<ResultEvent>(&*event)) {
    exit_.peak_rss_bytes = std::max(exit_.peak_rss_bytes, result->peak_rss_bytes);
    exit_.result = std::move(*result);
  } else if (auto* error = std::get_if<ErrorEvent>(&*event)) {
    exit_.peak_rss_bytes = std::max(exit_.peak_rss_bytes, error->peak_rss_bytes);
    exit_.error = std::move(*error);
  }
}

void JobProcess::OnOutputLine(absl::string_view line) {
  std::string clean = CleanText(line, kMaxOutputLineBytes);
  if (callbacks_.log) callbacks_.log(clean);
  exit_.last_output.push_back(std::move(clean));
  if (exit_.last_output.size() > kLastOutputLines) exit_.last_output.pop_front();
}

void JobProcess::Watch() {
  const absl::Time now = SteadyNow();
  if (now < next_watch_) return;
  next_watch_ = now + options_.watch_interval;
  const std::optional<ProcessUsage> usage = ReadProcessUsage(pid_);
  if (!usage.has_value()) return;
  exit_.cpu_seconds = usage->cpu_seconds;
  exit_.peak_rss_bytes = std::max(exit_.peak_rss_bytes, usage->peak_rss_bytes);
  peak_rss_bytes_.store(exit_.peak_rss_bytes, std::memory_order_relaxed);
  if (options_.limits.memory_bytes > 0 && usage->private_bytes > options_.limits.memory_bytes) {
    SetStopCause(StopCause::kMemory);
  }
  if (now - start_ > options_.max_run) SetStopCause(StopCause::kDeadline);
  const absl::Duration silent = now - last_event_;
  const double busy = usage->cpu_seconds - cpu_at_last_event_;
  if (silent > options_.hang_after * 12 ||
      (silent > options_.hang_after && busy < 0.01 * absl::ToDoubleSeconds(silent))) {
    SetStopCause(StopCause::kHung);
  }
}

// Carries out what stop_cause_ asks for.
void JobProcess::Enforce() {
  const StopCause cause = stop_cause_.load();
  if (cause == StopCause::kNone) return;
  const absl::Time now = SteadyNow();
  if (!terminated_) {
    terminated_ = true;
    const bool gently = cause == StopCause::kCancelled;
    kill_at_ = gently ? now + options_.kill_grace : now;
    // SIGCONT: a stopped process would not see the SIGTERM.
    if (gently) {
      kill(-pid_, SIGTERM);
      kill(-pid_, SIGCONT);
    }
  }
  if (now >= kill_at_) {
    kill(-pid_, SIGKILL);
    kill(pid_, SIGKILL);
  }
}

JobExit JobProcess::Run() {
  start_ = last_event_ = SteadyNow();
  Pipes pipes;
  exit_.start_error = wake_descriptor_ < 0 ? absl::ErrnoToStatus(ENFILE, "eventfd") : Start(&pipes);
  if (!exit_.start_error.ok()) return std::move(exit_);
  // Our copies of the child's ends must go, or its end would never show as end of file.
  close(std::exchange(pipes.events_write, -1));
  close(std::exchange(pipes.output_write, -1));
  LineReader events(std::exchange(pipes.events_read, -1), kMaxEventBytes,
                    [this](absl::string_view line) { OnEventLine(line); });
  LineReader output(std::exchange(pipes.output_read, -1), kMaxOutputLineBytes + 1,
                    [this](absl::string_view line) { OnOutputLine(line); });
  int wait_status = 0;
  int closed_polls = 0;
  while (true) {
    Watch();
    Enforce();
    pollfd waited[] = {{wake_descriptor_, POLLIN, 0},
                       {events.descriptor(), POLLIN, 0},  // a closed one is -1, which poll() skips
                       {output.descriptor(), POLLIN, 0}};
    const absl::Duration until =
        std::min(next_watch_, std::max(kill_at_, SteadyNow() + absl::Milliseconds(1))) -
        SteadyNow();
    // With both pipes closed the process is about to end, and nothing else would say so.
    const bool ending = !events.open() && !output.open() && ++closed_polls <= kMaxClosedPolls;
    poll(waited, 3, static_cast<int>(ending ? 1 : RoundedMillis(until)));
    uint64_t count;
    [[maybe_unused]] const ssize_t n = read(wake_descriptor_, &count, sizeof(count));
    if (events.open()) events.ReadAvailable();
    if (output.open()) output.ReadAvailable();
    siginfo_t info = {};
    if (waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) != 0) {
      if (errno != EINTR) break;
    } else if (info.si_pid == pid_) {
      break;
    }
  }
  // Whatever it may have left behind; before it is reaped, while its number cannot be anybody
  // else's.
  kill(-pid_, SIGKILL);
  rusage usage = {};
  while (wait4(pid_, &wait_status, 0, &usage) < 0 && errno == EINTR) {
  }
  const auto seconds = [](const timeval& t) { return t.tv_sec + t.tv_usec * 1e-6; };
  exit_.cpu_seconds = seconds(usage.ru_utime) + seconds(usage.ru_stime);
  // What it said last.
  if (events.open()) events.ReadAvailable();
  if (output.open()) output.ReadAvailable();
  peak_rss_bytes_.store(exit_.peak_rss_bytes);
  exit_.stop_cause = stop_cause_.load();
  exit_.signaled = WIFSIGNALED(wait_status);
  exit_.code = exit_.signaled ? WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
  exit_.elapsed = SteadyNow() - start_;
  return std::move(exit_);
}

}  // namespace lathe::worker
