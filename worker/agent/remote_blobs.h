// Blobs over the wire.
#ifndef LATHE_WORKER_AGENT_REMOTE_BLOBS_H_
#define LATHE_WORKER_AGENT_REMOTE_BLOBS_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "worker/agent/connection.h"

namespace lathe::worker {

// Where a cache gets what it lacks.
class BlobSource {
 public:
  virtual ~BlobSource() = default;
  // Hands the bytes of a blob from `offset` to its end to `sink`, in order. May fail midway; the
  // next call then goes on from what the sink has taken. An error of the sink is returned as it is.
  // NOT_FOUND: no such blob.
  virtual absl::Status Fetch(const std::string& digest, int64_t offset,
                             const std::function<absl::Status(absl::string_view)>& sink,
                             CancelScope* cancel) = 0;
};

// One file to send.
struct LocalBlob {
  std::string path;
  std::string digest;
  int64_t size_bytes = 0;
};

// Thread-safe.
class RemoteBlobs : public BlobSource {
 public:
  explicit RemoteBlobs(ServerConnection* connection) : connection_(connection) {}

  absl::Status Fetch(const std::string& digest, int64_t offset,
                     const std::function<absl::Status(absl::string_view)>& sink,
                     CancelScope* cancel) override;

  // Sends those that the server lacks. Cut uploads go on from what arrived; gives up after
  // kMaxFruitless tries in a row that brought nothing forward. CANCELLED when `cancel` is.
  absl::Status Upload(const std::vector<LocalBlob>& blobs, CancelScope* cancel);

 private:
  absl::Status UploadOne(const LocalBlob& blob, CancelScope* cancel);
  absl::Status PutSmall(const LocalBlob& blob, CancelScope* cancel);
  absl::Status UploadFrom(const LocalBlob& blob, int64_t offset, CancelScope* cancel);

  ServerConnection* const connection_;
};

// Tries in a row without progress before a transfer is given up: with the pauses of RetryDelay
// about half a minute.
inline constexpr int kMaxFruitless = 12;

}  // namespace lathe::worker

#endif  // LATHE_WORKER_AGENT_REMOTE_BLOBS_H_
