#include "server/store/data_dir_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace lathe::server {
namespace {

absl::Status ErrnoStatus(int error, absl::string_view what, const std::string& path) {
  const std::string message = absl::StrCat(what, " ", path, ": ", std::strerror(error));
  if (error == EACCES || error == EPERM || error == EROFS) {
    return absl::PermissionDeniedError(absl::StrCat(
        message, "; give the server's user write access or choose another --data-dir"));
  }
  if (error == ENOSPC || error == EDQUOT) return absl::ResourceExhaustedError(message);
  return absl::UnavailableError(message);
}

std::string Owner(int fd) {
  char text[32] = {};
  const ssize_t n = pread(fd, text, sizeof(text) - 1, 0);
  const std::string pid(absl::StripAsciiWhitespace(absl::string_view(text, n > 0 ? n : 0)));
  return pid.empty() ? "another process" : absl::StrCat("process ", pid);
}

}  // namespace

absl::StatusOr<std::unique_ptr<DataDirLock>> DataDirLock::Acquire(const std::string& data_dir) {
  namespace fs = std::filesystem;
  std::error_code error;
  const bool existed = fs::is_directory(data_dir, error);
  if (!existed) {
    fs::create_directories(data_dir, error);
    if (error) return ErrnoStatus(error.value(), "cannot make the data directory", data_dir);
    fs::permissions(data_dir, fs::perms::owner_all, error);
    if (error)
      return ErrnoStatus(error.value(), "cannot set the mode of the data directory", data_dir);
  }
  const std::string path = data_dir + "/lock";
  // Close-on-exec: a worker started by the server must not hold the lock after the server has died.
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return ErrnoStatus(errno, "cannot open the lock file", path);
  auto lock = std::unique_ptr<DataDirLock>(new DataDirLock(fd));
  if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return ErrnoStatus(errno, "cannot lock", path);
    return absl::FailedPreconditionError(absl::StrCat(
        "the data directory ", data_dir, " is in use by ", Owner(fd),
        "; two servers cannot share one: stop the other or choose another --data-dir"));
  }
  const std::string pid = absl::StrCat(getpid(), "\n");
  if (ftruncate(fd, 0) != 0 || pwrite(fd, pid.data(), pid.size(), 0) < 0) {
    return ErrnoStatus(errno, "cannot write the lock file", path);
  }
  return lock;
}

DataDirLock::~DataDirLock() { close(fd_); }

}  // namespace lathe::server
