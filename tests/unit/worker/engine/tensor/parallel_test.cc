#include "worker/engine/tensor/parallel.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <set>
#include <thread>
#include <vector>

#include "absl/synchronization/barrier.h"
#include "absl/synchronization/mutex.h"

namespace lathe::engine {
namespace {

TEST(ParallelTest, EveryPieceRunsExactlyOnce) {
  for (const int threads : {1, 2, 3, 8}) {
    const auto parallel = MakeThreadPool(threads);
    EXPECT_EQ(parallel->threads(), threads);
    for (const int64_t pieces : {0, 1, 2, 7, 1000}) {
      std::vector<std::atomic<int>> runs(pieces);
      parallel->Run(pieces, [&](int64_t i) { runs[i].fetch_add(1); });
      for (int64_t i = 0; i < pieces; ++i) ASSERT_EQ(runs[i].load(), 1) << threads << " " << i;
    }
  }
}

TEST(ParallelTest, RunReturnsOnlyWhenAllPiecesAreDone) {
  const auto parallel = MakeThreadPool(4);
  // Many short batches in a row: a helper that comes late to one must not touch the next. Plain
  // ints, so that the thread sanitizer sees a missing hand-over.
  std::vector<int64_t> values(64);
  for (int round = 0; round < 2000; ++round) {
    parallel->Run(64, [&](int64_t i) { values[i] += i; });
  }
  for (int64_t i = 0; i < 64; ++i) EXPECT_EQ(values[i], 2000 * i);
}

TEST(ParallelTest, PiecesReallyRunAtTheSameTime) {
  const auto parallel = MakeThreadPool(3);
  absl::Mutex mutex;
  std::set<std::thread::id> ids;
  auto* barrier = new absl::Barrier(3);  // passes only when three threads are in
  parallel->Run(3, [&](int64_t) {
    {
      absl::MutexLock lock(&mutex);
      ids.insert(std::this_thread::get_id());
    }
    if (barrier->Block()) delete barrier;
  });
  EXPECT_EQ(ids.size(), 3u);
}

TEST(ParallelTest, SerialRunsOnTheCallerInOrder) {
  const auto serial = MakeSerial();
  EXPECT_EQ(serial->threads(), 1);
  std::vector<int64_t> order;
  serial->Run(4, [&](int64_t i) { order.push_back(i); });
  EXPECT_EQ(order, (std::vector<int64_t>{0, 1, 2, 3}));
}

TEST(ParallelTest, APoolThatNeverRanCanBeDestroyed) { MakeThreadPool(5).reset(); }

}  // namespace
}  // namespace lathe::engine
