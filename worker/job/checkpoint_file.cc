#include "worker/job/checkpoint_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "common/file_error.h"
#include "common/status_macros.h"
#include "worker/job/spec.h"

namespace lathe::worker {
namespace {

absl::Status WriteAll(int fd, absl::string_view bytes, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t n = write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return FileError(errno, absl::StrCat("write ", path));
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return absl::OkStatus();
}

}  // namespace

CheckpointFile::CheckpointFile(std::string folder, double interval_seconds, int64_t max_bytes,
                               std::function<double()> seconds)
    : path_(absl::StrCat(folder, "/", kCheckpointName)),
      interval_seconds_(interval_seconds),
      max_bytes_(max_bytes),
      seconds_(std::move(seconds)),
      last_(seconds_()) {}

absl::StatusOr<int64_t> CheckpointFile::Save(const std::vector<absl::string_view>& pieces) {
  const absl::StatusOr<int64_t> bytes = Write(pieces);
  last_ = seconds_();
  return bytes;
}

absl::StatusOr<int64_t> CheckpointFile::Write(const std::vector<absl::string_view>& pieces) const {
  int64_t bytes = 0;
  for (const absl::string_view piece : pieces) bytes += static_cast<int64_t>(piece.size());
  if (bytes > max_bytes_) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the state has ", bytes, " bytes; at most ", max_bytes_, " are kept"));
  }
  const std::string part = path_ + ".part";
  absl::Cleanup remove = [&part] { unlink(part.c_str()); };
  const int fd = open(part.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return FileError(errno, absl::StrCat("make ", part));
  {
    absl::Cleanup close_it = [fd] { close(fd); };
    for (const absl::string_view piece : pieces) RETURN_IF_ERROR(WriteAll(fd, piece, part));
    std::move(close_it).Cancel();
    if (close(fd) != 0) return FileError(errno, absl::StrCat("close ", part));
  }
  if (rename(part.c_str(), path_.c_str()) != 0) return FileError(errno, "rename " + part);
  std::move(remove).Cancel();
  return bytes;
}

}  // namespace lathe::worker
