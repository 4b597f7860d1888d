// Deletes blobs that nothing names any more, and uploads that nobody went on with.
#ifndef LATHE_SERVER_BLOBS_GARBAGE_COLLECTOR_H_
#define LATHE_SERVER_BLOBS_GARBAGE_COLLECTOR_H_

#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/clock.h"
#include "server/blobs/blob_store.h"

namespace lathe::server {

struct GarbageCollectorOptions {
  absl::Duration interval = absl::Minutes(10);
  // Blobs and uploads younger than this are spared: their owner may be about to name them.
  absl::Duration grace = absl::Hours(24);
};

struct GarbageCollected {
  int blobs = 0;
  int64_t bytes = 0;
  int uploads = 0;
};

class GarbageCollector {
 public:
  // `referenced` lists what is named now; `is_referenced` is asked again right before a blob goes.
  // All must outlive this.
  GarbageCollector(GarbageCollectorOptions options, BlobStore* blobs, const Clock* clock,
                   std::function<absl::StatusOr<std::vector<std::string>>()> referenced,
                   std::function<absl::StatusOr<bool>(const std::string&)> is_referenced);
  // Stops the thread, when Start was called.
  ~GarbageCollector();

  // Collects every `interval` on a thread of its own.
  void Start();
  // Once, now. Stops at the first error: better to keep too much.
  absl::StatusOr<GarbageCollected> Collect();

 private:
  void Run();

  const GarbageCollectorOptions options_;
  BlobStore* const blobs_;
  const Clock* const clock_;
  const std::function<absl::StatusOr<std::vector<std::string>>()> referenced_;
  const std::function<absl::StatusOr<bool>(const std::string&)> is_referenced_;
  absl::Mutex mutex_;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace lathe::server

#endif  // LATHE_SERVER_BLOBS_GARBAGE_COLLECTOR_H_
