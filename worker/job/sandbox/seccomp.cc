// seccomp: which system calls the process may make. A list of what a numeric program that reads and
// writes files needs; every other call fails with EPERM, so that a library asking for a luxury goes
// on without it.
#include <errno.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/job/sandbox/sandbox.h"

namespace lathe::worker {
namespace {

// Names that an architecture lacks are skipped.
constexpr const char* kAllowed[] = {
    // Files and folders.
    "read", "write", "pread64", "pwrite64", "readv", "writev", "preadv", "pwritev", "open",
    "openat", "close", "stat", "fstat", "lstat", "newfstatat", "statx", "fstatfs", "statfs",
    "lseek", "access", "faccessat", "faccessat2", "readlink", "readlinkat", "getdents",
    "getdents64", "getcwd", "mkdir", "mkdirat", "rmdir", "unlink", "unlinkat", "rename", "renameat",
    "renameat2", "ftruncate", "truncate", "fallocate", "fadvise64", "fsync", "fdatasync",
    "sync_file_range", "copy_file_range", "sendfile", "dup", "dup2", "dup3", "fcntl", "pipe",
    "pipe2", "eventfd2", "poll", "ppoll", "select", "pselect6", "umask",
    // Memory.
    "brk", "mmap", "munmap", "mprotect", "mremap", "madvise", "msync", "mincore", "mlock",
    "munlock", "get_mempolicy", "membarrier",
    // Threads, time and signals within the process.
    "futex", "futex_waitv", "set_robust_list", "get_robust_list", "set_tid_address", "rseq",
    "gettid", "getpid", "getppid", "getpgrp", "getuid", "geteuid", "getgid", "getegid",
    "sched_yield", "sched_getaffinity", "sched_getparam", "sched_getscheduler",
    "sched_get_priority_max", "sched_get_priority_min", "getcpu", "arch_prctl", "exit",
    "exit_group", "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "rt_sigpending",
    "rt_sigtimedwait", "rt_sigsuspend", "sigaltstack", "restart_syscall", "pause", "nanosleep",
    "clock_nanosleep", "clock_gettime", "clock_getres", "gettimeofday", "time", "times",
    "getitimer", "alarm", "getrandom", "getrusage", "getrlimit", "sysinfo", "uname"};

absl::Status Failed(int error, const char* what) {
  return absl::ErrnoToStatus(-error, absl::StrCat("seccomp: ", what));
}

// Adds `name` under conditions on its arguments.
absl::Status AllowIf(scmp_filter_ctx filter, const char* name, scmp_arg_cmp condition) {
  const int error = seccomp_rule_add_array(filter, SCMP_ACT_ALLOW,
                                           seccomp_syscall_resolve_name(name), 1, &condition);
  return error < 0 ? Failed(error, name) : absl::OkStatus();
}

}  // namespace

absl::Status RestrictSystemCalls() {
  scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
  if (filter == nullptr) return absl::InternalError("seccomp: cannot make a filter");
  const absl::Cleanup release = [filter] { seccomp_release(filter); };
  seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2);  // a tree, not a list
  for (const char* name : kAllowed) {
    const int number = seccomp_syscall_resolve_name(name);
    if (number == __NR_SCMP_ERROR) continue;
    if (const int error = seccomp_rule_add(filter, SCMP_ACT_ALLOW, number, 0); error < 0) {
      return Failed(error, name);
    }
  }
  // Threads, never processes. clone3 passes its flags in memory, where a filter cannot look: ENOSYS
  // makes the C library use clone.
  RETURN_IF_ERROR(
      AllowIf(filter, "clone", SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD)));
  if (const int error = seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
      error < 0) {
    return Failed(error, "clone3");
  }
  // Signals to itself only: abort() raises one.
  const auto self = static_cast<scmp_datum_t>(getpid());
  RETURN_IF_ERROR(AllowIf(filter, "tgkill", SCMP_A0(SCMP_CMP_EQ, self, 0)));
  RETURN_IF_ERROR(AllowIf(filter, "kill", SCMP_A0(SCMP_CMP_EQ, self, 0)));
  RETURN_IF_ERROR(AllowIf(filter, "prctl", SCMP_A0(SCMP_CMP_EQ, PR_SET_NAME, 0)));
  RETURN_IF_ERROR(
      AllowIf(filter, "prctl", SCMP_A0(SCMP_CMP_EQ, 0x53564d41, 0)));  // PR_SET_VMA: names
  // Reading limits is fine, setting them is not.
  RETURN_IF_ERROR(AllowIf(filter, "prlimit64", SCMP_A2(SCMP_CMP_EQ, 0, 0)));
  // "Is this a terminal?", asked by C libraries before buffering.
  RETURN_IF_ERROR(AllowIf(filter, "ioctl", SCMP_A1(SCMP_CMP_EQ, TCGETS, 0)));
  if (const int error = seccomp_load(filter); error < 0) return Failed(error, "cannot load");
  return absl::OkStatus();
}

}  // namespace lathe::worker
