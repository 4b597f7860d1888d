// Content-addressed bytes. Ready for an object store: no paths, only digests.
#ifndef LATHE_SERVER_BLOBS_BLOB_STORE_H_
#define LATHE_SERVER_BLOBS_BLOB_STORE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/jobs/library.h"

namespace lathe::server {

// An upload under way. One thread at a time. Destroying it before Finish keeps what was appended,
// for a later resume.
class BlobWriter {
 public:
  virtual ~BlobWriter() = default;
  // ABORTED (reason UPLOAD_TAKEN_OVER) when another upload of the digest has begun since;
  // INVALID_ARGUMENT past the promised size; RESOURCE_EXHAUSTED (reason DISK_FULL) or INTERNAL when
  // the disk refuses.
  virtual absl::Status Append(absl::string_view bytes) = 0;
  // Publishes the blob, durably and atomically. INVALID_ARGUMENT (reason DIGEST_MISMATCH) when the
  // bytes are not what was promised: nothing is kept then. FAILED_PRECONDITION (reason
  // UPLOAD_INCOMPLETE) when some are missing: they may follow later.
  virtual absl::Status Finish() = 0;
};

class BlobReader {
 public:
  virtual ~BlobReader() = default;
  virtual int64_t size() const = 0;
  // Up to `buffer_bytes` bytes from `offset`; 0 at the end. DATA_LOSS when the disk fails.
  virtual absl::StatusOr<int64_t> Read(int64_t offset, char* buffer, int64_t buffer_bytes) = 0;
};

struct UploadState {
  int64_t committed_bytes = 0;
  bool complete = false;
};

struct StoredBlob {
  std::string digest;
  int64_t size_bytes = 0;
  absl::Time modified;
};

// Thread-safe. Digests are valid (common/digest.h ValidateDigest); callers check what comes from
// outside.
class BlobStore : public BlobSizes {
 public:
  // An unknown upload counts as zero.
  virtual absl::StatusOr<UploadState> QueryUpload(const std::string& digest) = 0;
  // Begins, or goes on with, an upload. A new writer takes over from an older one of the same
  // digest, so that an abandoned upload blocks nobody. offset 0 starts afresh; OUT_OF_RANGE (reason
  // WRONG_OFFSET) when another offset is not the committed size.
  virtual absl::StatusOr<std::unique_ptr<BlobWriter>> BeginUpload(const std::string& digest,
                                                                  int64_t size_bytes,
                                                                  int64_t offset) = 0;
  // NOT_FOUND (reason BLOB_NOT_FOUND).
  virtual absl::StatusOr<std::unique_ptr<BlobReader>> Open(const std::string& digest) = 0;
  virtual absl::Status Delete(const std::string& digest) = 0;
  virtual absl::Status ForEach(const std::function<void(const StoredBlob&)>& fn) = 0;
  // Removes partial uploads that nothing was appended to since `before`; returns how many.
  virtual absl::StatusOr<int> RemoveStaleUploads(absl::Time before) = 0;
  // Marks a blob as just used, so that the collector spares it for another grace period. False when
  // it is not stored.
  virtual bool Touch(const std::string& digest) = 0;
};

// Whether a blob is stored and has the size it should have, which a damaged one may not; then it is
// also marked as just used.
bool IsStored(BlobStore& store, const std::string& digest, int64_t size_bytes);
// Stores a small blob in one go. What is stored under the digest is compared, and replaced when it
// was damaged.
absl::Status PutBlob(BlobStore& store, const std::string& digest, absl::string_view bytes);
// A whole small blob. RESOURCE_EXHAUSTED (reason BLOB_TOO_LARGE) past `limit_bytes`.
absl::StatusOr<std::string> ReadBlob(BlobStore& store, const std::string& digest,
                                     int64_t limit_bytes);

}  // namespace lathe::server

#endif  // LATHE_SERVER_BLOBS_BLOB_STORE_H_
