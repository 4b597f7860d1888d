#include "server/blobs/hash_pipe.h"

#include <utility>

namespace lathe::server {

HashPipe::HashPipe(Sha256 so_far) : sha_(std::move(so_far)) {}

HashPipe::~HashPipe() {
  if (thread_.joinable()) Drain();
}

void HashPipe::Update(absl::string_view bytes) {
  if (!thread_.joinable()) {
    if (bytes.size() < kWorthAThread) {
      sha_.Update(bytes);
      return;
    }
    thread_ = std::thread([this] { Run(); });
  }
  std::string buffer;
  {
    absl::MutexLock lock(&mutex_);
    const auto has_room = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return queued_bytes_ < kMaxQueuedBytes;
    };
    mutex_.Await(absl::Condition(&has_room));
    if (!free_.empty()) {
      buffer = std::move(free_.front());
      free_.pop_front();
    }
    queued_bytes_ += bytes.size();
  }
  buffer.assign(bytes.data(), bytes.size());
  absl::MutexLock lock(&mutex_);
  queue_.push_back(std::move(buffer));
}

Sha256 HashPipe::Drain() {
  if (thread_.joinable()) {
    {
      absl::MutexLock lock(&mutex_);
      closed_ = true;
    }
    thread_.join();
  }
  return std::move(sha_);
}

void HashPipe::Run() {
  std::string buffer;
  while (true) {
    {
      absl::MutexLock lock(&mutex_);
      if (buffer.capacity() > 0) free_.push_back(std::move(buffer));
      const auto has_work = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
        return closed_ || !queue_.empty();
      };
      mutex_.Await(absl::Condition(&has_work));
      if (queue_.empty()) return;
      buffer = std::move(queue_.front());
      queue_.pop_front();
    }
    sha_.Update(buffer);
    absl::MutexLock lock(&mutex_);
    queued_bytes_ -= buffer.size();
  }
}

}  // namespace lathe::server
