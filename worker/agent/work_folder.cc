#include "worker/agent/work_folder.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <filesystem>
#include <system_error>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/file_error.h"
#include "common/limits.h"
#include "common/status_macros.h"

namespace lathe::worker {
namespace {

namespace fs = std::filesystem;

absl::Status CopyFile(const std::string& from, const std::string& to) {
  const int in = open(from.c_str(), O_RDONLY | O_CLOEXEC);
  if (in < 0) return FileError(errno, absl::StrCat("open ", from));
  const absl::Cleanup close_in = [in] { close(in); };
  const int out = open(to.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0400);
  if (out < 0) return FileError(errno, absl::StrCat("make ", to));
  const absl::Cleanup close_out = [out] { close(out); };
  if (ioctl(out, FICLONE, in) == 0) return absl::OkStatus();
  while (true) {
    const ssize_t n = copy_file_range(in, nullptr, out, nullptr, size_t{1} << 30, 0);
    if (n == 0) return absl::OkStatus();
    if (n < 0 && errno != EINTR) return FileError(errno, absl::StrCat("copy to ", to));
  }
}

}  // namespace

bool IsSafeRelativePath(absl::string_view path) {
  if (path.empty() || path.size() > limits::kMaxPathBytes) return false;
  if (path.find('\0') != absl::string_view::npos) return false;
  for (const absl::string_view part : absl::StrSplit(path, '/')) {
    if (part.empty() || part == "." || part == "..") return false;
  }
  return true;
}

absl::StatusOr<std::unique_ptr<WorkFolder>> WorkFolder::Create(const std::string& path) {
  auto folder = std::unique_ptr<WorkFolder>(new WorkFolder(path));
  for (const std::string& part :
       {path, folder->in(), folder->compared(), folder->teacher(), folder->data(), folder->resume(),
        folder->out(), folder->meta(), folder->checkpoint(), folder->tmp()}) {
    std::error_code error;
    fs::create_directories(part, error);
    if (error) return FileError(error.value(), absl::StrCat("make ", part));
  }
  return folder;
}

WorkFolder::~WorkFolder() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

absl::Status WorkFolder::Place(const std::string& cached, const std::string& folder,
                               const std::string& relative, bool share) const {
  if (!IsSafeRelativePath(relative)) {
    return absl::InvalidArgumentError(
        absl::StrCat("file path \"", relative, "\" must be relative and stay in its folder"));
  }
  const fs::path target = fs::path(folder) / relative;
  std::error_code error;
  fs::create_directories(target.parent_path(), error);
  if (error) {
    return FileError(error.value(), absl::StrCat("make the folder of ", relative));
  }
  if (share && link(cached.c_str(), target.c_str()) == 0) return absl::OkStatus();
  // Also when the file has as many links as the file system allows.
  return CopyFile(cached, target.string());
}

absl::StatusOr<std::string> RegularFileBelow(const std::string& folder,
                                             const std::string& relative) {
  if (!IsSafeRelativePath(relative)) {
    return absl::InvalidArgumentError(
        absl::StrCat("the job named an output file \"", relative, "\" outside its folder"));
  }
  fs::path path = folder;
  for (const absl::string_view part : absl::StrSplit(relative, '/')) {
    std::error_code error;
    if (!fs::is_directory(fs::symlink_status(path, error))) {
      return absl::InvalidArgumentError(
          absl::StrCat("output file ", relative, ": ", path.string(), " is not a folder"));
    }
    path /= std::string(part);
  }
  std::error_code error;
  if (!fs::is_regular_file(fs::symlink_status(path, error))) {
    return absl::InvalidArgumentError(
        absl::StrCat("output file ", relative, " is not there or not a regular file"));
  }
  return path.string();
}

}  // namespace lathe::worker
