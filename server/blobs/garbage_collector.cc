#include "server/blobs/garbage_collector.h"

#include <unordered_set>
#include <utility>

#include "common/log.h"
#include "common/status_macros.h"

namespace lathe::server {

GarbageCollector::GarbageCollector(
    GarbageCollectorOptions options, BlobStore* blobs, const Clock* clock,
    std::function<absl::StatusOr<std::vector<std::string>>()> referenced,
    std::function<absl::StatusOr<bool>(const std::string&)> is_referenced)
    : options_(options),
      blobs_(blobs),
      clock_(clock),
      referenced_(std::move(referenced)),
      is_referenced_(std::move(is_referenced)) {}

GarbageCollector::~GarbageCollector() {
  {
    absl::MutexLock lock(&mutex_);
    stop_ = true;
  }
  if (thread_.joinable()) thread_.join();
}

void GarbageCollector::Start() {
  thread_ = std::thread([this] { Run(); });
}

void GarbageCollector::Run() {
  while (true) {
    {
      absl::MutexLock lock(&mutex_);
      if (mutex_.AwaitWithTimeout(absl::Condition(&stop_), options_.interval)) return;
    }
    const absl::StatusOr<GarbageCollected> collected = Collect();
    if (!collected.ok()) {
      LogWarning("garbage collection failed", {{"error", collected.status().message()}});
    } else if (collected->blobs + collected->uploads > 0) {
      LogInfo("collected garbage", {{"blobs", collected->blobs},
                                    {"bytes", collected->bytes},
                                    {"stale_uploads", collected->uploads}});
    }
  }
}

absl::StatusOr<GarbageCollected> GarbageCollector::Collect() {
  const absl::Time before = clock_->Now() - options_.grace;
  std::vector<StoredBlob> old;
  RETURN_IF_ERROR(blobs_->ForEach([&](const StoredBlob& blob) {
    if (blob.modified < before) old.push_back(blob);
  }));
  GarbageCollected result;
  if (!old.empty()) {
    ASSIGN_OR_RETURN(const std::vector<std::string> list, referenced_());
    const std::unordered_set<std::string> referenced(list.begin(), list.end());
    for (const StoredBlob& blob : old) {
      if (referenced.count(blob.digest) != 0) continue;
      ASSIGN_OR_RETURN(const bool named, is_referenced_(blob.digest));
      if (named) continue;
      RETURN_IF_ERROR(blobs_->Delete(blob.digest));
      ++result.blobs;
      result.bytes += blob.size_bytes;
    }
  }
  ASSIGN_OR_RETURN(result.uploads, blobs_->RemoveStaleUploads(before));
  return result;
}

}  // namespace lathe::server
