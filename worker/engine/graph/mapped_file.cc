#include "worker/engine/graph/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/status_macros.h"

namespace lathe::engine {
namespace {

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  void Reset(int fd) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = fd;
  }
  int get() const { return fd_; }

 private:
  int fd_;
};

absl::Status OpenError(const std::string& path, int error) {
  if (error == ENOENT) return absl::NotFoundError(absl::StrCat("file '", path, "' does not exist"));
  if (error == ELOOP || error == ENOTDIR) {
    return absl::InvalidArgumentError(absl::StrCat(
        "path '", path,
        "' passes through a symbolic link or a file; only plain files and folders are followed"));
  }
  return absl::InternalError(absl::StrCat("cannot open '", path, "': ", std::strerror(error)));
}

}  // namespace

absl::StatusOr<std::vector<std::string>> SafePathComponents(const std::string& path) {
  const auto refuse = [&](absl::string_view why) {
    return absl::InvalidArgumentError(
        absl::StrCat("path '", path.substr(0, 200), "' ", why,
                     "; it must name a file inside the model's folder"));
  };
  if (path.find('\0') != std::string::npos) return refuse("contains a NUL byte");
  if (!path.empty() && path[0] == '/') return refuse("is absolute");
  std::vector<std::string> components;
  for (const absl::string_view part : absl::StrSplit(path, '/')) {
    if (part.empty() || part == ".") continue;
    if (part == "..") return refuse("contains '..'");
    components.emplace_back(part);
  }
  if (components.empty()) return refuse("names no file");
  return components;
}

absl::StatusOr<std::shared_ptr<const MappedFile>> MappedFile::Open(const std::string& folder,
                                                                   const std::string& path,
                                                                   Links links) {
  ASSIGN_OR_RETURN(const std::vector<std::string> components, SafePathComponents(path));
  const int no_follow = links == Links::kRefuse ? O_NOFOLLOW : 0;
  Descriptor at(::open(folder.empty() ? "." : folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (at.get() < 0) return OpenError(folder, errno);
  for (size_t i = 0; i + 1 < components.size(); ++i) {
    // O_PATH with O_NOFOLLOW opens a link itself; O_DIRECTORY then refuses it with ENOTDIR.
    const int next =
        ::openat(at.get(), components[i].c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC | no_follow);
    if (next < 0) return OpenError(path, errno);
    at.Reset(next);
  }
  // O_NONBLOCK: a pipe must not hold the job up.
  const int fd =
      ::openat(at.get(), components.back().c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC | no_follow);
  if (fd < 0) return OpenError(path, errno);
  const Descriptor file(fd);
  struct stat info;
  if (::fstat(fd, &info) != 0) return OpenError(path, errno);
  if (!S_ISREG(info.st_mode)) {
    return absl::InvalidArgumentError(absl::StrCat("'", path, "' is not a regular file"));
  }
  return OfDescriptor(fd, static_cast<size_t>(info.st_size), path);
}

absl::StatusOr<std::shared_ptr<const MappedFile>> MappedFile::OfDescriptor(
    int fd, size_t size, const std::string& path) {
  if (size == 0) return std::shared_ptr<const MappedFile>(new MappedFile(absl::string_view()));
  void* const address = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
  if (address == MAP_FAILED) {
    return absl::InternalError(
        absl::StrCat("cannot map '", path, "' (", size, " bytes): ", std::strerror(errno)));
  }
  return std::shared_ptr<const MappedFile>(
      new MappedFile(absl::string_view(static_cast<const char*>(address), size)));
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) ::munmap(const_cast<char*>(bytes_.data()), bytes_.size());
}

}  // namespace lathe::engine
