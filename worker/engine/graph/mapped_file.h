// A file mapped read-only.
#ifndef LATHE_WORKER_ENGINE_GRAPH_MAPPED_FILE_H_
#define LATHE_WORKER_ENGINE_GRAPH_MAPPED_FILE_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace lathe::engine {

// The map lives as long as the object. A file that somebody shortens meanwhile would raise SIGBUS,
// so models are read from folders that belong to the job.
class MappedFile {
 public:
  // Whether a path may be (or pass through) a symbolic link.
  enum class Links { kFollow, kRefuse };

  // Maps the regular file at `path`, relative to `folder`. `path` must stay below it: "..",
  // absolute paths and NUL bytes are refused, and symbolic links too with Links::kRefuse.
  // INVALID_ARGUMENT for those; NOT_FOUND; INTERNAL when the system refuses.
  static absl::StatusOr<std::shared_ptr<const MappedFile>> Open(const std::string& folder,
                                                                const std::string& path,
                                                                Links links);
  // Maps `size_bytes` of an open file, which may be closed and unlinked then. INTERNAL when the
  // system refuses; `path` is for its message.
  static absl::StatusOr<std::shared_ptr<const MappedFile>> OfDescriptor(int fd, size_t size_bytes,
                                                                        const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  absl::string_view bytes() const { return bytes_; }

 private:
  explicit MappedFile(absl::string_view bytes) : bytes_(bytes) {}
  const absl::string_view bytes_;
};

// The components of a relative path that stays below its folder, "." and empty ones left out.
// INVALID_ARGUMENT otherwise.
absl::StatusOr<std::vector<std::string>> SafePathComponents(const std::string& path);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_GRAPH_MAPPED_FILE_H_
