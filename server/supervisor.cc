#include "server/supervisor.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/log.h"

namespace lathe::server {
namespace {

constexpr absl::Duration kLook = absl::Milliseconds(100);
constexpr absl::Duration kLongestBackoff = absl::Seconds(30);
// A worker that lived this long was well; its next death starts with short waits again.
constexpr absl::Duration kWell = absl::Seconds(30);

std::string CauseOf(int status) {
  if (WIFEXITED(status)) return absl::StrCat("exit code ", WEXITSTATUS(status));
  if (WIFSIGNALED(status))
    return absl::StrCat("signal ", WTERMSIG(status), " (", strsignal(WTERMSIG(status)), ")");
  return "unknown";
}

}  // namespace

Supervisor::Supervisor(SupervisorOptions options, IdGenerator* ids)
    : options_(std::move(options)), ids_(ids) {}
Supervisor::~Supervisor() { Stop(); }

absl::Status Supervisor::Start() {
  if (options_.workers == 0) return absl::OkStatus();
  if (access(options_.binary.c_str(), X_OK) != 0) {
    return absl::FailedPreconditionError(absl::StrCat("cannot run the local workers' program ",
                                                      options_.binary, ": ", std::strerror(errno),
                                                      " (--worker-binary, or --local-workers 0)"));
  }
  // One thread forks and reaps all: PR_SET_PDEATHSIG is tied to the thread that forked.
  thread_ = std::thread([this] { Run(); });
  return absl::OkStatus();
}

void Supervisor::Stop() {
  {
    absl::MutexLock lock(&mutex_);
    stop_ = true;
  }
  if (thread_.joinable()) thread_.join();
}

void Supervisor::Launch(Child& child) {
  child.worker_id = absl::StrCat("local-", child.index, "-", ids_->NewId());
  std::vector<std::string> arguments = {options_.binary};
  arguments.insert(arguments.end(), options_.arguments.begin(), options_.arguments.end());
  arguments.push_back("--cache-dir");
  arguments.push_back(absl::StrCat(options_.folder, "/worker-", child.index));
  arguments.push_back("--name");
  arguments.push_back(absl::StrCat("local-", child.index));
  arguments.push_back("--worker-id");
  arguments.push_back(child.worker_id);
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  const pid_t parent = getpid();
  sigset_t none;
  sigemptyset(&none);
  child.pid = fork();
  child.started = absl::Now();
  if (child.pid == 0) {
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) _exit(1);
    setpgid(0, 0);  // a terminal's Ctrl-C reaches lathed, which drains them
    sigprocmask(SIG_SETMASK, &none, nullptr);
    execv(argv[0], argv.data());
    _exit(127);
  }
  if (child.pid < 0) LogError("cannot fork a local worker", {{"error", std::strerror(errno)}});
}

void Supervisor::Run() {
  std::vector<Child> children(static_cast<size_t>(options_.workers));
  for (int i = 0; i < options_.workers; ++i) {
    children[i].index = i;
    Launch(children[i]);
  }
  while (true) {
    {
      absl::MutexLock lock(&mutex_);
      if (mutex_.AwaitWithTimeout(absl::Condition(&stop_), kLook)) break;
    }
    for (Child& child : children) {
      int status = 0;
      if (child.pid > 0 && waitpid(child.pid, &status, WNOHANG) == child.pid) {
        if (absl::Now() - child.started > kWell) child.backoff = absl::Milliseconds(200);
        LogWarning("a local worker ended; starting it again",
                   {{"worker", child.worker_id},
                    {"pid", child.pid},
                    {"cause", CauseOf(status)},
                    {"wait_ms", absl::ToInt64Milliseconds(child.backoff)}});
        if (options_.on_exit) options_.on_exit(child.worker_id, CauseOf(status));
        child.pid = -1;
        child.restart_at = absl::Now() + child.backoff;
        child.backoff = std::min(child.backoff * 2, kLongestBackoff);
      }
      if (child.pid <= 0 && absl::Now() >= child.restart_at) Launch(child);
    }
  }
  for (const Child& child : children) {
    if (child.pid > 0) kill(child.pid, SIGTERM);
  }
  const absl::Time give_up = absl::Now() + options_.kill_after;
  for (const Child& child : children) {
    if (child.pid <= 0) continue;
    while (waitpid(child.pid, nullptr, WNOHANG) == 0) {
      if (absl::Now() > give_up) {
        LogWarning("a local worker does not stop; killing it",
                   {{"worker", child.index}, {"pid", child.pid}});
        kill(child.pid, SIGKILL);
        waitpid(child.pid, nullptr, 0);
        break;
      }
      absl::SleepFor(absl::Milliseconds(10));
    }
  }
}

}  // namespace lathe::server
