// Inputs kept on the worker's disk, so that many jobs on one model fetch it once.
#ifndef LATHE_WORKER_AGENT_BLOB_CACHE_H_
#define LATHE_WORKER_AGENT_BLOB_CACHE_H_

#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "worker/agent/remote_blobs.h"

namespace lathe::worker {

// Thread-safe. Invariants, under mutex_:
//  1. A file named by its digest in the folder is complete and was checked against the digest.
//  2. total_bytes_ is the sum over entries that are ready.
//  3. An entry with pins is never evicted, so that total_bytes_ may pass the limit while everything
//  is in use.
class BlobCache {
 public:
  // `folder` must exist and belong to this cache alone. `source` must outlive it.
  BlobCache(std::string folder, int64_t limit_bytes, BlobSource* source);
  BlobCache(const BlobCache&) = delete;
  BlobCache& operator=(const BlobCache&) = delete;

  // A blob in use. Its file is read-only and stays until the pin is gone.
  class Pin {
   public:
    Pin(BlobCache* cache, std::string digest) : cache_(cache), digest_(std::move(digest)) {}
    ~Pin();
    Pin(const Pin&) = delete;
    Pin& operator=(const Pin&) = delete;
    std::string path() const;

   private:
    BlobCache* const cache_;
    const std::string digest_;
  };

  // The blob, fetched if need be; one fetch serves all who ask meanwhile. NOT_FOUND: the server has
  // no such blob; DATA_LOSS: what came does not have the digest or the size, twice;
  // RESOURCE_EXHAUSTED: the disk is full; CANCELLED.
  absl::StatusOr<std::unique_ptr<Pin>> Acquire(const std::string& digest, int64_t size_bytes,
                                               CancelScope* cancel);

  // Drops every blob that is not pinned: something else needs the disk.
  void EvictUnused();

  int64_t total_bytes() const;

 private:
  struct Entry {
    bool ready = false;  // else one caller is fetching it
    int pins = 0;
    int64_t size_bytes = 0;
    std::list<std::string>::iterator use;  // in use_order_, when ready
  };

  std::string PathOf(const std::string& digest) const { return folder_ + "/" + digest; }
  absl::Status Download(const std::string& digest, int64_t size_bytes, CancelScope* cancel);
  absl::Status DownloadOnce(const std::string& digest, int64_t size_bytes, int fd,
                            CancelScope* cancel);
  void Unpin(const std::string& digest);
  // Evicts the least lately used until `wanted_bytes` more fit, or nothing is left that may go.
  void MakeRoom(int64_t wanted_bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::string folder_;
  const int64_t limit_bytes_;
  BlobSource* const source_;
  mutable absl::Mutex mutex_;
  std::map<std::string, Entry> entries_ ABSL_GUARDED_BY(mutex_);
  std::list<std::string> use_order_ ABSL_GUARDED_BY(mutex_);  // least lately used first
  int64_t total_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace lathe::worker

#endif  // LATHE_WORKER_AGENT_BLOB_CACHE_H_
