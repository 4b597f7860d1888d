#include "worker/agent/process_folder.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <filesystem>
#include <system_error>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/log.h"
#include "common/status_macros.h"

namespace lathe::worker {
namespace {

namespace fs = std::filesystem;

constexpr char kPrefix[] = "worker-";
constexpr char kLockName[] = "lock";

absl::Status ToStatus(const std::error_code& error, const std::string& what) {
  return error ? absl::ErrnoToStatus(error.value(), what) : absl::OkStatus();
}

// The descriptor, or -1 when somebody else holds the lock or there is none.
int TryLock(const fs::path& folder, bool create) {
  const int flags = O_RDWR | O_CLOEXEC | O_NOFOLLOW | (create ? O_CREAT : 0);
  const int fd = open((folder / kLockName).c_str(), flags, 0600);
  if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0) return fd;
  if (fd >= 0) close(fd);
  return -1;
}

void RemoveStale(const fs::path& cache_dir) {
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(cache_dir, error)) {
    if (!absl::StartsWith(entry.path().filename().string(), kPrefix)) continue;
    const int lock = TryLock(entry.path(), /*create=*/false);
    if (lock < 0) continue;
    std::error_code ignored;
    fs::remove_all(entry.path(), ignored);
    close(lock);
    LogInfo("removed what a dead worker left", {{"folder", entry.path().string()}});
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<ProcessFolder>> ProcessFolder::Create(const std::string& cache_dir,
                                                                     const std::string& id) {
  std::error_code error;
  fs::create_directories(cache_dir, error);
  RETURN_IF_ERROR(ToStatus(error, absl::StrCat("cannot make the cache folder ", cache_dir)));
  const fs::path root = fs::canonical(cache_dir, error);
  RETURN_IF_ERROR(ToStatus(error, absl::StrCat("cannot find the cache folder ", cache_dir)));
  RemoveStale(root);
  // Made under a name that RemoveStale skips, then locked, then renamed: it is never seen unlocked.
  const fs::path made = root / absl::StrCat(".new-", id);
  const fs::path path = root / absl::StrCat(kPrefix, id);
  fs::create_directory(made, error);
  RETURN_IF_ERROR(ToStatus(error, absl::StrCat("cannot make ", made.string())));
  const int lock = TryLock(made, /*create=*/true);
  if (lock < 0) return absl::UnavailableError(absl::StrCat("cannot lock ", made.string()));
  auto folder = std::unique_ptr<ProcessFolder>(new ProcessFolder(path.string(), lock));
  fs::permissions(made, fs::perms::owner_all, error);
  fs::rename(made, path, error);
  RETURN_IF_ERROR(ToStatus(error, absl::StrCat("cannot rename ", made.string())));
  return folder;
}

ProcessFolder::~ProcessFolder() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
  close(lock_);
}

}  // namespace lathe::worker
