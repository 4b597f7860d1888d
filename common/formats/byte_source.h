// Bytes that are read at a place: a file, or a string in tests and fuzzers.
#ifndef LATHE_COMMON_FORMATS_BYTE_SOURCE_H_
#define LATHE_COMMON_FORMATS_BYTE_SOURCE_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace lathe {

// Read with pread rather than mapped: the process's memory stays what the caller gives, however
// large the file, and a file that somebody shortens meanwhile is an error, not a SIGBUS.
class ByteSource {
 public:
  // The regular file at `path`. NOT_FOUND; INVALID_ARGUMENT for what is not a regular file.
  static absl::StatusOr<std::unique_ptr<ByteSource>> OpenFile(const std::string& path);
  // A string of the caller's.
  static std::unique_ptr<ByteSource> OfString(std::string bytes);

  virtual ~ByteSource() = default;
  ByteSource(const ByteSource&) = delete;
  ByteSource& operator=(const ByteSource&) = delete;

  int64_t size() const { return size_; }
  // Fills `out` with `count` bytes from `offset` on. INVALID_ARGUMENT when they are not all there.
  absl::Status Read(int64_t offset, int64_t count, char* out) const;
  // The same as a string; `count` must have met a limit before.
  absl::StatusOr<std::string> ReadString(int64_t offset, int64_t count) const;

 protected:
  explicit ByteSource(int64_t size) : size_(size) {}

 private:
  // [offset, offset + count) lies within [0, size()).
  virtual absl::Status DoRead(int64_t offset, int64_t count, char* out) const = 0;

  const int64_t size_;
};

}  // namespace lathe

#endif  // LATHE_COMMON_FORMATS_BYTE_SOURCE_H_
