#include "common/formats/byte_source.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/file_error.h"
#include "common/status_macros.h"

namespace lathe {
namespace {

class FileSource : public ByteSource {
 public:
  FileSource(int fd, int64_t size) : ByteSource(size), fd_(fd) {}
  ~FileSource() override { ::close(fd_); }

 private:
  absl::Status DoRead(int64_t offset, int64_t count, char* out) const override {
    while (count > 0) {
      const ssize_t n = ::pread(fd_, out, static_cast<size_t>(count), offset);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return FileError(errno, "read the file");
      if (n == 0) return absl::InvalidArgumentError("the file was shortened while it was read");
      out += n;
      offset += n;
      count -= n;
    }
    return absl::OkStatus();
  }

  const int fd_;
};

class StringSource : public ByteSource {
 public:
  explicit StringSource(std::string bytes)
      : ByteSource(static_cast<int64_t>(bytes.size())), bytes_(std::move(bytes)) {}

 private:
  absl::Status DoRead(int64_t offset, int64_t count, char* out) const override {
    std::memcpy(out, bytes_.data() + offset, static_cast<size_t>(count));
    return absl::OkStatus();
  }

  const std::string bytes_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<ByteSource>> ByteSource::OpenFile(const std::string& path) {
  if (path.empty() || path.find('\0') != std::string::npos) {
    return absl::InvalidArgumentError("a path must name a file, without NUL bytes");
  }
  // O_NONBLOCK: a pipe must not hold the job up.
  const int fd = ::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) return FileError(errno, "open the file");
  struct stat info;
  if (::fstat(fd, &info) != 0) {
    const int error = errno;
    ::close(fd);
    return FileError(error, "look at the file");
  }
  if (!S_ISREG(info.st_mode)) {
    ::close(fd);
    return absl::InvalidArgumentError("it is not a regular file");
  }
  return std::make_unique<FileSource>(fd, static_cast<int64_t>(info.st_size));
}

std::unique_ptr<ByteSource> ByteSource::OfString(std::string bytes) {
  return std::make_unique<StringSource>(std::move(bytes));
}

absl::Status ByteSource::Read(int64_t offset, int64_t count, char* out) const {
  if (offset < 0 || count < 0 || count > size_ || offset > size_ - count) {
    return absl::InvalidArgumentError(absl::StrCat("the file ends too early: ", count,
                                                   " bytes are expected at offset ", offset,
                                                   ", but it has ", size_));
  }
  return count == 0 ? absl::OkStatus() : DoRead(offset, count, out);
}

absl::StatusOr<std::string> ByteSource::ReadString(int64_t offset, int64_t count) const {
  if (count < 0 || count > size_) return Read(offset, count, nullptr);
  std::string out(static_cast<size_t>(count), '\0');
  RETURN_IF_ERROR(Read(offset, count, out.data()));
  return out;
}

}  // namespace lathe
