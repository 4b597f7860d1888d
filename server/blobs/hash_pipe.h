// SHA-256 on a thread of its own, so that hashing an upload overlaps with receiving and writing it.
#ifndef LATHE_SERVER_BLOBS_HASH_PIPE_H_
#define LATHE_SERVER_BLOBS_HASH_PIPE_H_

#include <cstdlib>
#include <deque>
#include <memory>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "common/digest.h"

namespace lathe::server {

// One producer. The thread starts with the first chunk that is worth it; small uploads are hashed
// in place.
class HashPipe {
 public:
  explicit HashPipe(Sha256 so_far);
  ~HashPipe();
  HashPipe(const HashPipe&) = delete;
  HashPipe& operator=(const HashPipe&) = delete;

  // Hashes `bytes` soon, from a copy; waits while more than kMaxQueuedBytes are queued. Returns the
  // copy, which starts at a multiple of kAlignment and stays as it is until the next call; empty
  // when the bytes were hashed in place.
  absl::string_view Update(absl::string_view bytes);
  // Hashes what is queued and gives the state back; nothing may follow.
  Sha256 Drain();

  // What disks and file systems ask of memory that they read without the page cache.
  static constexpr size_t kAlignment = 4096;

 private:
  static constexpr size_t kMaxQueuedBytes = 16 << 20;
  static constexpr size_t kWorthAThread = 256 << 10;
  void Run();

  struct Free {
    void operator()(char* memory) const { std::free(memory); }
  };
  struct Buffer {
    std::unique_ptr<char, Free> memory;
    size_t capacity = 0;
    size_t size = 0;
  };

  Sha256 sha_;  // the thread's, once it runs
  std::thread thread_;
  absl::Mutex mutex_;
  std::deque<Buffer> queue_ ABSL_GUARDED_BY(mutex_);
  std::deque<Buffer> free_
      ABSL_GUARDED_BY(mutex_);  // buffers to use again: fresh ones cost page faults
  size_t queued_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  bool closed_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace lathe::server

#endif  // LATHE_SERVER_BLOBS_HASH_PIPE_H_
