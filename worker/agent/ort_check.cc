#include "worker/agent/ort_check.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/status_macros.h"
#include "worker/agent/job_environment.h"
#include "worker/job/event.h"

namespace lathe::worker {
namespace {

constexpr size_t kMaxOutputBytes = 4096;
constexpr size_t kMaxVersionBytes = 64;

// Starts the process with its output and errors going into `write_end`.
absl::StatusOr<pid_t> Start(const std::string& job_binary, const std::string& library,
                            int write_end) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  const absl::Cleanup destroy = [&actions] { posix_spawn_file_actions_destroy(&actions); };
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, write_end, STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, write_end, STDERR_FILENO);
  const std::vector<std::string> environment = JobEnvironment();
  std::vector<char*> variables;
  for (const std::string& entry : environment)
    variables.push_back(const_cast<char*>(entry.c_str()));
  variables.push_back(nullptr);
  char* arguments[] = {const_cast<char*>("lathe-job"), const_cast<char*>("--ort-version"),
                       const_cast<char*>(library.c_str()), nullptr};
  pid_t pid = -1;
  const int error =
      posix_spawn(&pid, job_binary.c_str(), &actions, nullptr, arguments, variables.data());
  if (error != 0) {
    return absl::UnavailableError(
        absl::StrCat("cannot start ", job_binary, ": ", absl::ErrnoToStatus(error, "").message()));
  }
  return pid;
}

// All that comes until the other end closes, cut to kMaxOutputBytes.
absl::StatusOr<std::string> ReadAll(int descriptor, absl::Time deadline) {
  std::string out;
  while (true) {
    const int64_t left = absl::ToInt64Milliseconds(deadline - absl::Now());
    if (left <= 0) return absl::DeadlineExceededError("");
    pollfd waited = {descriptor, POLLIN, 0};
    if (poll(&waited, 1, static_cast<int>(std::min<int64_t>(left, 1000))) <= 0) continue;
    char buffer[1024];
    const ssize_t n = read(descriptor, buffer, sizeof(buffer));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return out;
    if (out.size() < kMaxOutputBytes) out.append(buffer, static_cast<size_t>(n));
  }
}

}  // namespace

absl::StatusOr<std::string> CheckOrtLibrary(const std::string& job_binary,
                                            const std::string& library, absl::Duration patience) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return absl::ErrnoToStatus(errno, "pipe2");
  const absl::Cleanup close_read = [&ends] { close(ends[0]); };
  const absl::StatusOr<pid_t> pid = Start(job_binary, library, ends[1]);
  close(ends[1]);
  RETURN_IF_ERROR(pid.status());
  const absl::StatusOr<std::string> said = ReadAll(ends[0], absl::Now() + patience);
  if (!said.ok()) kill(*pid, SIGKILL);
  int status = 0;
  while (waitpid(*pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (!said.ok()) {
    return absl::DeadlineExceededError(
        absl::StrCat("--ort-library ", library, " was not loaded within ",
                     absl::FormatDuration(patience), "; leave the flag out to go without it"));
  }
  const std::string text = CleanText(absl::StripAsciiWhitespace(*said), kMaxOutputBytes);
  if (WIFEXITED(status) && WEXITSTATUS(status) == kExitOk && !text.empty() &&
      text.size() <= kMaxVersionBytes) {
    return text;
  }
  return absl::FailedPreconditionError(absl::StrCat(
      "--ort-library cannot be used: ",
      WIFSIGNALED(status) ? absl::StrCat("signal ", WTERMSIG(status), " while loading it; ") : "",
      text));
}

}  // namespace lathe::worker
