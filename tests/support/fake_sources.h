// Time, ids and randomness that the test holds.
#ifndef LATHE_TESTS_SUPPORT_FAKE_SOURCES_H_
#define LATHE_TESTS_SUPPORT_FAKE_SOURCES_H_

#include <atomic>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/clock.h"
#include "common/ids.h"
#include "server/jobs/backoff.h"

namespace lathe::server {

class FakeClock : public Clock {
 public:
  absl::Time Now() const override {
    absl::MutexLock lock(&mutex_);
    return now_;
  }
  void Advance(absl::Duration by) {
    absl::MutexLock lock(&mutex_);
    now_ += by;
  }

 private:
  mutable absl::Mutex mutex_;
  absl::Time now_ ABSL_GUARDED_BY(mutex_) = absl::FromUnixSeconds(1'700'000'000);
};

class CountingIds : public IdGenerator {
 public:
  std::string NewId() override { return absl::StrCat("id", count_.fetch_add(1)); }

 private:
  std::atomic<int> count_{1};
};

// The middle of the jitter.
class NoJitter : public RandomSource {
 public:
  double Uniform() override { return 0.5; }
};

}  // namespace lathe::server

#endif  // LATHE_TESTS_SUPPORT_FAKE_SOURCES_H_
