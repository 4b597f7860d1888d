#include "worker/engine/graph/scratch.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "absl/cleanup/cleanup.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "worker/engine/graph/mapped_file.h"

namespace lathe::engine {
namespace {

// Fewer bytes are not worth the system calls.
constexpr int64_t kFewBytes = 64 << 10;
// A process may have 65,530 mappings by default (vm.max_map_count), and others need some.
constexpr int64_t kMostFiles = 16 << 10;
constexpr size_t kStepBytes = 16 << 20;

bool WriteAll(int fd, absl::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd, bytes.data(), std::min(bytes.size(), kStepBytes));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return true;
}

// Bytes in memory, counted while they live.
struct Held {
  Held(Bytes held, std::shared_ptr<std::atomic<int64_t>> count)
      : bytes(std::move(held)), total(std::move(count)) {
    *total += bytes.size();
  }
  ~Held() { *total -= bytes.size(); }
  Held(const Held&) = delete;
  Held& operator=(const Held&) = delete;

  const Bytes bytes;
  const std::shared_ptr<std::atomic<int64_t>> total;
};

}  // namespace

Bytes Scratch::Keep(Bytes bytes) {
  if (bytes.size() < kFewBytes || bytes.borrowed()) return bytes;
  if (*held_bytes_ + bytes.size() <= in_memory_bytes_) {
    const auto held = std::make_shared<const Held>(std::move(bytes), held_bytes_);
    return Bytes::Borrow(held->bytes.view(), held);
  }
  if (files_ >= kMostFiles) return bytes;
  const std::string path = absl::StrCat(folder_, "/constant-", files_++);
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (fd < 0) return bytes;
  const absl::Cleanup close_it = [fd] { ::close(fd); };
  if (::unlink(path.c_str()) != 0 || !WriteAll(fd, bytes.view())) return bytes;
  const absl::StatusOr<std::shared_ptr<const MappedFile>> file =
      MappedFile::OfDescriptor(fd, static_cast<size_t>(bytes.size()), path);
  return file.ok() ? Bytes::Map((*file)->bytes(), *file) : bytes;
}

}  // namespace lathe::engine
