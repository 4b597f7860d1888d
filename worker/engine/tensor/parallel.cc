#include "worker/engine/tensor/parallel.h"

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace lathe::engine {
namespace {

class Serial final : public Parallel {
 public:
  int threads() const override { return 1; }
  void Run(int64_t pieces, const std::function<void(int64_t)>& fn) override {
    for (int64_t i = 0; i < pieces; ++i) fn(i);
  }
};

// One batch of work at a time. Run publishes a batch under the mutex; every helper wakes, draws
// pieces from the atomic counter until none is left, and reports back. Run returns when all helpers
// did, so a batch's `fn` is never touched afterwards.
class ThreadPool final : public Parallel {
 public:
  explicit ThreadPool(int threads) : threads_(std::max(threads, 1)) {
    helpers_.reserve(threads_ - 1);
    for (int i = 1; i < threads_; ++i) helpers_.emplace_back([this] { Help(); });
  }

  ~ThreadPool() override {
    {
      absl::MutexLock lock(&mutex_);
      stopping_ = true;
    }
    for (std::thread& helper : helpers_) helper.join();
  }

  int threads() const override { return threads_; }

  void Run(int64_t pieces, const std::function<void(int64_t)>& fn) override {
    if (pieces <= 1 || helpers_.empty()) {
      for (int64_t i = 0; i < pieces; ++i) fn(i);
      return;
    }
    next_.store(0, std::memory_order_relaxed);
    {
      absl::MutexLock lock(&mutex_);
      fn_ = &fn;
      pieces_ = pieces;
      busy_ = static_cast<int>(helpers_.size());
      ++batch_;
    }
    Draw(pieces, fn);
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(
        +[](int* busy) { return *busy == 0; }, &busy_));
    fn_ = nullptr;
  }

 private:
  void Draw(int64_t pieces, const std::function<void(int64_t)>& fn) {
    for (;;) {
      const int64_t piece = next_.fetch_add(1, std::memory_order_relaxed);
      if (piece >= pieces) return;
      fn(piece);
    }
  }

  struct Wait {
    const ThreadPool* pool;
    int64_t seen;
  };

  void Help() {
    Wait wait{this, 0};
    for (;;) {
      const std::function<void(int64_t)>* fn;
      int64_t pieces;
      {
        absl::MutexLock lock(&mutex_);
        mutex_.Await(absl::Condition(&ThreadPool::HasWork, &wait));
        if (stopping_) return;
        wait.seen = batch_;
        fn = fn_;
        pieces = pieces_;
      }
      Draw(pieces, *fn);
      absl::MutexLock lock(&mutex_);
      --busy_;
    }
  }

  // Called by absl::Condition with mutex_ held, which the analysis cannot see.
  static bool HasWork(Wait* wait) ABSL_NO_THREAD_SAFETY_ANALYSIS {
    return wait->pool->stopping_ || wait->pool->batch_ != wait->seen;
  }

  const int threads_;
  std::atomic<int64_t> next_{0};

  mutable absl::Mutex mutex_;
  const std::function<void(int64_t)>* fn_ ABSL_GUARDED_BY(mutex_) = nullptr;
  int64_t pieces_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t batch_ ABSL_GUARDED_BY(mutex_) = 0;
  int busy_ ABSL_GUARDED_BY(mutex_) = 0;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;

  // Last, so that the threads start when the rest is there.
  std::vector<std::thread> helpers_;
};

}  // namespace

std::unique_ptr<Parallel> MakeSerial() { return std::make_unique<Serial>(); }

std::unique_ptr<Parallel> MakeThreadPool(int threads) {
  if (threads <= 1) return MakeSerial();
  return std::make_unique<ThreadPool>(threads);
}

}  // namespace lathe::engine
