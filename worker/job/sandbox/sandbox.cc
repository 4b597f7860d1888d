#include "worker/job/sandbox/sandbox.h"

#include <errno.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace lathe::worker {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitized = true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif
#else
constexpr bool kSanitized = false;
#endif

// Thread stacks and the allocators' reserves count as data without ever being used.
constexpr int64_t kMemorySlackBytes = int64_t{512} << 20;
constexpr rlim_t kMaxOpenFiles = 4096;

// Lowers a limit to at most `value`. `hard` >= `value`; neither is ever raised, which would take
// privileges.
absl::Status Lower(int resource, const char* name, rlim_t value, rlim_t hard) {
  rlimit now;
  if (getrlimit(resource, &now) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("getrlimit ", name));
  }
  now.rlim_max = std::min(now.rlim_max, hard);
  now.rlim_cur = std::min({now.rlim_cur, value, now.rlim_max});
  if (setrlimit(resource, &now) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("setrlimit ", name));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ApplyResourceLimits(const JobLimits& limits) {
  RETURN_IF_ERROR(Lower(RLIMIT_CORE, "RLIMIT_CORE", 0, 0));
  RETURN_IF_ERROR(Lower(RLIMIT_NOFILE, "RLIMIT_NOFILE", kMaxOpenFiles, kMaxOpenFiles));
  if (limits.memory_bytes > 0 && !kSanitized) {
    const rlim_t bytes = static_cast<rlim_t>(limits.memory_bytes + kMemorySlackBytes);
    RETURN_IF_ERROR(Lower(RLIMIT_DATA, "RLIMIT_DATA", bytes, bytes));
  }
  if (limits.cpu_seconds > 0) {
    // SIGXCPU at the soft limit, SIGKILL at the hard one should the first be blocked.
    const rlim_t seconds = static_cast<rlim_t>(limits.cpu_seconds);
    RETURN_IF_ERROR(Lower(RLIMIT_CPU, "RLIMIT_CPU", seconds, seconds + 5));
  }
  if (limits.file_bytes > 0) {
    // Without its signal, a write past the limit fails with EFBIG, which the engine reports with
    // the file's name.
    signal(SIGXFSZ, SIG_IGN);
    const rlim_t bytes = static_cast<rlim_t>(limits.file_bytes);
    RETURN_IF_ERROR(Lower(RLIMIT_FSIZE, "RLIMIT_FSIZE", bytes, bytes));
  }
  return absl::OkStatus();
}

bool EnterEmptyNetwork() {
  if (unshare(CLONE_NEWNET) == 0) return true;
  return unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0;
}

absl::Status DropCapabilities() {
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct none[2] = {};
  prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
  if (syscall(SYS_capset, &header, none) != 0) return absl::ErrnoToStatus(errno, "capset");
  return absl::OkStatus();
}

absl::Status DieWithParent(int64_t parent_pid) {
  if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0) {
    return absl::ErrnoToStatus(errno, "prctl PR_SET_PDEATHSIG");
  }
  // It may have ended before the line above took effect.
  if (getppid() != parent_pid) {
    return absl::AbortedError(absl::StrCat("the parent process ", parent_pid, " has ended"));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> EnterSandbox(const SandboxOptions& options) {
  std::string applied = "rlimits";
  std::string missing;
  RETURN_IF_ERROR(ApplyResourceLimits(options.limits));
  absl::StrAppend(EnterEmptyNetwork() ? &applied : &missing, " netns");
  RETURN_IF_ERROR(DropCapabilities());
  absl::StrAppend(&applied, " no-capabilities");
  if (options.parent_pid > 0) RETURN_IF_ERROR(DieWithParent(options.parent_pid));
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
    return absl::ErrnoToStatus(errno, "prctl PR_SET_NO_NEW_PRIVS");
  }
  ASSIGN_OR_RETURN(const int landlock, RestrictFiles(options));
  if (landlock > 0) {
    absl::StrAppend(&applied, " landlock(", landlock, ")");
  } else {
    absl::StrAppend(&missing, " landlock");
  }
  RETURN_IF_ERROR(RestrictSystemCalls());
  absl::StrAppend(&applied, " seccomp");
  if (!missing.empty()) absl::StrAppend(&applied, "; refused by the kernel:", missing);
  return applied;
}

}  // namespace lathe::worker
