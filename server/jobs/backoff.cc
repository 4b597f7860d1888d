#include "server/jobs/backoff.h"

#include <algorithm>
#include <cmath>

#include "absl/random/random.h"

namespace lathe::server {

double SystemRandom::Uniform() {
  static thread_local absl::BitGen generator;
  return absl::Uniform(generator, 0.0, 1.0);
}

absl::Duration BackoffDelay(const BackoffOptions& options, int failures, double uniform) {
  const double exponent = std::max(failures, 1) - 1;
  // In floating point the power saturates to infinity instead of overflowing; the minimum brings it
  // back.
  const double seconds =
      std::min(absl::ToDoubleSeconds(options.initial) * std::pow(options.multiplier, exponent),
               absl::ToDoubleSeconds(options.maximum));
  const double factor = 1.0 + options.jitter * (2.0 * uniform - 1.0);
  return absl::Seconds(seconds * factor);
}

}  // namespace lathe::server
