#include "server/blobs/hash_pipe.h"

#include <cstring>
#include <new>
#include <utility>

namespace lathe::server {

HashPipe::HashPipe(Sha256 so_far) : sha_(std::move(so_far)) {}

HashPipe::~HashPipe() {
  if (thread_.joinable()) Drain();
}

absl::string_view HashPipe::Update(absl::string_view bytes) {
  if (!thread_.joinable()) {
    if (bytes.size() < kWorthAThread) {
      sha_.Update(bytes);
      return "";
    }
    thread_ = std::thread([this] { Run(); });
  }
  Buffer buffer;
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
  if (buffer.capacity < bytes.size()) {
    buffer.capacity = (bytes.size() + kAlignment - 1) / kAlignment * kAlignment;
    buffer.memory.reset(static_cast<char*>(std::aligned_alloc(kAlignment, buffer.capacity)));
    if (buffer.memory == nullptr) throw std::bad_alloc();
  }
  buffer.size = bytes.size();
  if (!bytes.empty()) std::memcpy(buffer.memory.get(), bytes.data(), bytes.size());
  const absl::string_view copy(buffer.memory.get(), buffer.size);
  absl::MutexLock lock(&mutex_);
  queue_.push_back(std::move(buffer));
  return copy;
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
  Buffer buffer;
  while (true) {
    {
      absl::MutexLock lock(&mutex_);
      if (buffer.capacity > 0) free_.push_back(std::move(buffer));
      const auto has_work = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
        return closed_ || !queue_.empty();
      };
      mutex_.Await(absl::Condition(&has_work));
      if (queue_.empty()) return;
      buffer = std::move(queue_.front());
      queue_.pop_front();
    }
    sha_.Update(absl::string_view(buffer.memory.get(), buffer.size));
    absl::MutexLock lock(&mutex_);
    queued_bytes_ -= buffer.size;
  }
}

}  // namespace lathe::server
