// SHA-256 digests, the names of all blobs.
#ifndef LATHE_COMMON_DIGEST_H_
#define LATHE_COMMON_DIGEST_H_

#include <cstddef>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace lathe {

// Streaming SHA-256. Not thread-safe; one object a stream. Hex digests are 64 lower-case
// characters.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;

  void Update(absl::string_view bytes);
  // The digest of all bytes so far, in hex. May be called repeatedly, with Update in between.
  std::string HexDigest() const;

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

// SHA-256 of `bytes`, in hex.
std::string Sha256Hex(absl::string_view bytes);

// SHA-256 of a file's content, in hex, and its size. NOT_FOUND when it cannot be opened, DATA_LOSS
// when reading fails.
struct FileDigest {
  std::string sha256;
  long long size_bytes = 0;
};
absl::StatusOr<FileDigest> Sha256File(const std::string& path);

// OK when `digest` is 64 lower-case hex characters; INVALID_ARGUMENT naming what is wrong
// otherwise.
absl::Status ValidateDigest(absl::string_view digest);

}  // namespace lathe

#endif  // LATHE_COMMON_DIGEST_H_
