// When a failed attempt is tried again.
#ifndef LATHE_SERVER_JOBS_BACKOFF_H_
#define LATHE_SERVER_JOBS_BACKOFF_H_

#include "absl/time/time.h"

namespace lathe::server {

// Source of randomness, so that tests can fix it. Thread-safe.
class RandomSource {
 public:
  virtual ~RandomSource() = default;
  // Uniform in [0, 1).
  virtual double Uniform() = 0;
};

// Seeded by the operating system.
class SystemRandom : public RandomSource {
 public:
  double Uniform() override;
};

struct BackoffOptions {
  absl::Duration initial = absl::Seconds(1);
  double multiplier = 2.0;
  absl::Duration maximum = absl::Minutes(5);
  // The wait is drawn from [1 - jitter, 1 + jitter] times the exponential one, so that jobs that
  // failed together do not come back together. Range: [0, 1].
  double jitter = 0.25;
};

// Wait before the next attempt after `failures` failed ones (>= 1): initial * multiplier^(failures
// - 1), at most `maximum`, with jitter. `uniform` is in [0, 1).
absl::Duration BackoffDelay(const BackoffOptions& options, int failures, double uniform);

}  // namespace lathe::server

#endif  // LATHE_SERVER_JOBS_BACKOFF_H_
