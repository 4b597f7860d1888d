// An interval for a share.
#ifndef LATHE_WORKER_ENGINE_EVALUATE_METRICS_WILSON_H_
#define LATHE_WORKER_ENGINE_EVALUATE_METRICS_WILSON_H_

#include <algorithm>
#include <array>
#include <cmath>

namespace lathe::engine {

// The 0.975 quantile of the normal distribution.
inline constexpr double kZ95 = 1.959963984540054;

// Wilson's score interval at 95 % (E. B. Wilson, Probable inference, JASA 1927) for a share p seen
// in n trials:
//   (p + z^2/2n -+ z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)
// It stays within [0, 1] and holds up for small n and for shares near 0 and 1. n > 0, not
// necessarily whole (weights).
inline std::array<double, 2> WilsonInterval(double p, double n) {
  const double z2 = kZ95 * kZ95;
  const double middle = p + z2 / (2 * n);
  const double reach = kZ95 * std::sqrt(p * (1 - p) / n + z2 / (4 * n * n));
  const double scale = 1 + z2 / n;
  return {std::clamp((middle - reach) / scale, 0.0, 1.0),
          std::clamp((middle + reach) / scale, 0.0, 1.0)};
}

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_EVALUATE_METRICS_WILSON_H_
