// Landlock: which files the process may touch. https://docs.kernel.org/userspace-api/landlock.html
//
// The constants are spelled out because the kernel headers of a build machine are often older than
// the kernel of the machine that runs, and every right the running kernel knows should be taken
// away.
#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/job/sandbox/sandbox.h"

namespace lathe::worker {
namespace {

constexpr long kCreateRuleset = 444;  // the same on every architecture
constexpr long kAddRule = 445;
constexpr long kRestrictSelf = 446;
constexpr uint32_t kQueryVersion = 1;
constexpr int kRulePathBeneath = 1;

constexpr uint64_t kWriteFile = 1 << 1;
constexpr uint64_t kReadFile = 1 << 2;
constexpr uint64_t kReadDir = 1 << 3;
constexpr uint64_t kRemoveDir = 1 << 4;
constexpr uint64_t kRemoveFile = 1 << 5;
constexpr uint64_t kMakeDir = 1 << 7;
constexpr uint64_t kMakeReg = 1 << 8;
constexpr uint64_t kAllVersion1 = (1 << 13) - 1;
constexpr uint64_t kRefer = 1 << 13;     // version 2
constexpr uint64_t kTruncate = 1 << 14;  // version 3
constexpr uint64_t kIoctlDev = 1 << 15;  // version 5

struct RulesetAttr {
  uint64_t handled_access_fs;
  uint64_t handled_access_net;  // version 4: TCP bind and connect
  uint64_t scoped;              // version 6: abstract sockets and signals
};

struct __attribute__((packed)) PathBeneathAttr {
  uint64_t allowed_access;
  int32_t parent_fd;
};

absl::Status Allow(int ruleset, const std::string& folder, uint64_t access) {
  PathBeneathAttr rule = {access, open(folder.c_str(), O_PATH | O_CLOEXEC)};
  if (rule.parent_fd < 0) return absl::ErrnoToStatus(errno, absl::StrCat("open ", folder));
  const absl::Cleanup close_it = [&rule] { close(rule.parent_fd); };
  if (syscall(kAddRule, ruleset, kRulePathBeneath, &rule, 0) != 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("landlock rule for ", folder));
  }
  return absl::OkStatus();
}

}  // namespace

int LandlockVersion() {
  const long version = syscall(kCreateRuleset, nullptr, size_t{0}, kQueryVersion);
  return version < 0 ? 0 : static_cast<int>(version);
}

absl::StatusOr<int> RestrictFiles(const SandboxOptions& options) {
  const int version = LandlockVersion();
  if (version <= 0) return 0;
  RulesetAttr attr = {};
  attr.handled_access_fs = kAllVersion1;
  if (version >= 2) attr.handled_access_fs |= kRefer;
  if (version >= 3) attr.handled_access_fs |= kTruncate;
  if (version >= 5) attr.handled_access_fs |= kIoctlDev;
  if (version >= 4) attr.handled_access_net = 3;
  if (version >= 6) attr.scoped = 3;
  // Older kernels refuse a longer struct unless the rest is zero, which it is then.
  const long made = syscall(kCreateRuleset, &attr, sizeof(attr), 0);
  if (made < 0) return absl::ErrnoToStatus(errno, "landlock_create_ruleset");
  const int ruleset = static_cast<int>(made);
  const absl::Cleanup close_it = [ruleset] { close(ruleset); };
  const uint64_t read = kReadFile | kReadDir;
  const uint64_t write =
      (read | kWriteFile | kMakeReg | kMakeDir | kRemoveFile | kRemoveDir | kTruncate | kRefer) &
      attr.handled_access_fs;
  for (const std::string& folder : options.read_folders) {
    RETURN_IF_ERROR(Allow(ruleset, folder, read));
  }
  for (const std::string& file : options.read_files) {
    if (access(file.c_str(), F_OK) != 0) continue;
    RETURN_IF_ERROR(Allow(ruleset, file, kReadFile));
  }
  for (const std::string& folder : options.write_folders) {
    RETURN_IF_ERROR(Allow(ruleset, folder, write));
  }
  if (syscall(kRestrictSelf, ruleset, 0) != 0) {
    return absl::ErrnoToStatus(errno, "landlock_restrict_self");
  }
  return version;
}

}  // namespace lathe::worker
