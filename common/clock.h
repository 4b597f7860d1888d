// Time is handed in, so that tests can drive it.
#ifndef LATHE_COMMON_CLOCK_H_
#define LATHE_COMMON_CLOCK_H_

#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace lathe {

// Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual absl::Time Now() const = 0;
};

class RealClock : public Clock {
 public:
  absl::Time Now() const override { return absl::Now(); }
};

}  // namespace lathe

#endif  // LATHE_COMMON_CLOCK_H_
