#include "worker/engine/graph/output_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/file_error.h"
#include "common/status_macros.h"
#include "common/status_reason.h"

namespace lathe::engine {
namespace {

constexpr size_t kBufferBytes = 256 << 10;
// One write(2) moves at most 2 GiB; smaller steps let the kernel start on the disk meanwhile.
constexpr size_t kStepBytes = 16 << 20;

}  // namespace

OutputFile::OutputFile(std::string path)
    : path_(std::move(path)), temporary_path_(path_ + ".partial") {
  fd_ =
      ::open(temporary_path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0666);
  if (fd_ < 0) Fail("create", errno);
  buffer_.reserve(kBufferBytes);
}

OutputFile::~OutputFile() {
  if (fd_ >= 0) ::close(fd_);
  if (!committed_) ::unlink(temporary_path_.c_str());
}

bool OutputFile::Fail(absl::string_view doing, int error) {
  if (!status_.ok()) return false;
  const absl::Status told = FileError(error, absl::StrCat(doing, " '", path_, "' at byte ", size_));
  // Nothing else that may go wrong with a file of our own is the model's doing.
  status_ = ReasonOf(told) == kDiskFull ? told : absl::InternalError(told.message());
  return false;
}

bool OutputFile::WriteAll(absl::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd_, bytes.data(), std::min(bytes.size(), kStepBytes));
    if (written < 0) {
      if (errno == EINTR) continue;
      return Fail("write", errno);
    }
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return true;
}

bool OutputFile::Flush() {
  const bool ok = WriteAll(buffer_);
  buffer_.clear();
  return ok;
}

bool OutputFile::Append(absl::string_view bytes) {
  if (!status_.ok()) return false;
  if (buffer_.size() + bytes.size() > kBufferBytes && !Flush()) return false;
  if (bytes.size() >= kBufferBytes) {
    if (!WriteAll(bytes)) return false;
  } else {
    buffer_.append(bytes.data(), bytes.size());
  }
  size_ += static_cast<int64_t>(bytes.size());
  return true;
}

bool OutputFile::AlignTo(int64_t alignment) {
  const int64_t over = size_ % alignment;
  return over == 0 || Append(std::string(alignment - over, '\0'));
}

absl::Status OutputFile::Finish() {
  if (status_.ok()) Flush();
  if (fd_ >= 0) {
    const int fd = fd_;
    fd_ = -1;
    // Network file systems report a full disk only here.
    if (::close(fd) != 0) Fail("close", errno);
  }
  return status_;
}

absl::Status OutputFile::Commit() {
  RETURN_IF_ERROR(Finish());
  if (std::rename(temporary_path_.c_str(), path_.c_str()) != 0) {
    Fail("rename the finished file to", errno);
    return status_;
  }
  committed_ = true;
  return absl::OkStatus();
}

}  // namespace lathe::engine
