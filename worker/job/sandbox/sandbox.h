// Locks a process in before it touches anything from outside.
//
// Layers, each useful without the others: resource limits, no new privileges, no capabilities, an
// empty network namespace, Landlock file rules, and a seccomp list of allowed system calls that has
// no sockets, no exec, no fork, no ptrace and no mount. seccomp is required; the namespace and
// Landlock depend on the kernel and are used where they can be.
#ifndef LATHE_WORKER_JOB_SANDBOX_SANDBOX_H_
#define LATHE_WORKER_JOB_SANDBOX_SANDBOX_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/job/spec.h"

namespace lathe::worker {

struct SandboxOptions {
  std::vector<std::string> read_folders;   // may be read; nothing else may (Landlock)
  std::vector<std::string> read_files;     // may be read; those that do not exist are left out
  std::vector<std::string> write_folders;  // may be read and written
  JobLimits limits;
  // The process is killed when this one, its parent, ends; an error when the parent is another one
  // already. 0: not asked for.
  int64_t parent_pid = 0;
};

// Call while the process has one thread. Cannot be undone. Returns what was applied, for the log:
// "rlimits no-capabilities landlock(3) seccomp; refused by the kernel: netns". An error means that
// a required layer is missing: do not go on.
absl::StatusOr<std::string> EnterSandbox(const SandboxOptions& options);

// The parts, for tests and for EnterSandbox.

// RLIMIT_DATA (not with sanitizers, whose shadow memory counts), RLIMIT_CPU, RLIMIT_FSIZE,
// RLIMIT_NOFILE, no core files.
absl::Status ApplyResourceLimits(const JobLimits& limits);
// An empty network namespace, by a user namespace where that takes one. False: the kernel refused.
bool EnterEmptyNetwork();
// SIGKILL when the parent ends. Changes of credentials undo it, so it comes after them. The kernel
// watches the thread that made this process: that thread must stay until the process has ended.
absl::Status DieWithParent(int64_t parent_pid);
// Drops every capability for good.
absl::Status DropCapabilities();
// The version of Landlock that was enforced; 0: the kernel has none.
absl::StatusOr<int> RestrictFiles(const SandboxOptions& options);
// Landlock's version here, without using it; 0: none.
int LandlockVersion();
// Anything not on the list fails with EPERM (clone3 with ENOSYS, so that the C library falls back
// to clone).
absl::Status RestrictSystemCalls();

}  // namespace lathe::worker

#endif  // LATHE_WORKER_JOB_SANDBOX_SANDBOX_H_
