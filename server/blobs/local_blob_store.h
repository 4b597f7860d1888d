// Blobs in a folder:
//   ROOT/blobs/ab/abcd...   whole, named by their SHA-256; never changed once there
//   ROOT/uploads/abcd...    partial
// A blob appears by fsync, rename, fsync of the folder, so that it is there whole or not at all,
// also after a power failure. What a partial file holds is its length: a resumed upload goes on
// from there, in the same process without hashing the part again.
#ifndef LATHE_SERVER_BLOBS_LOCAL_BLOB_STORE_H_
#define LATHE_SERVER_BLOBS_LOCAL_BLOB_STORE_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "server/blobs/blob_store.h"

namespace lathe::server {

class LocalBlobStore : public BlobStore {
 public:
  // Makes the folders. PERMISSION_DENIED or RESOURCE_EXHAUSTED when that fails.
  static absl::StatusOr<std::unique_ptr<LocalBlobStore>> Create(const std::string& root);
  ~LocalBlobStore() override;

  absl::StatusOr<int64_t> BlobSize(const std::string& digest) override;
  absl::StatusOr<UploadState> QueryUpload(const std::string& digest) override;
  absl::StatusOr<std::unique_ptr<BlobWriter>> BeginUpload(const std::string& digest,
                                                          int64_t size_bytes,
                                                          int64_t offset) override;
  absl::StatusOr<std::unique_ptr<BlobReader>> Open(const std::string& digest) override;
  absl::Status Delete(const std::string& digest) override;
  absl::Status ForEach(const std::function<void(const StoredBlob&)>& fn) override;
  absl::StatusOr<int> RemoveStaleUploads(absl::Time before) override;
  bool Touch(const std::string& digest) override;

 private:
  class Writer;
  struct Shared;
  explicit LocalBlobStore(std::shared_ptr<Shared> shared);
  // The lock under which the newest writer of a digest touches its file; null without a writer.
  std::shared_ptr<absl::Mutex> CurrentIo(const std::string& digest) const;
  // Shared with writers, which may outlive a store that is being shut down.
  const std::shared_ptr<Shared> shared_;
};

}  // namespace lathe::server

#endif  // LATHE_SERVER_BLOBS_LOCAL_BLOB_STORE_H_
