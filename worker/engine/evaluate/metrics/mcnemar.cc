#include "worker/engine/evaluate/metrics/mcnemar.h"

#include <algorithm>
#include <cmath>

namespace lathe::engine {

McNemar McNemarTest(int64_t only_before, int64_t only_after) {
  McNemar test{only_before, only_after};
  const int64_t n = only_before + only_after;
  if (n == 0) return test;
  const int64_t least = std::min(only_before, only_after);
  if (n > kMaxExactPairs) {
    test.chi_square = true;
    const double apart =
        std::max(0.0, static_cast<double>(std::max(only_before, only_after) - least) - 1);
    // P(chi-square > x) with one degree of freedom is erfc(sqrt(x / 2)).
    test.p_value = std::erfc(apart / std::sqrt(2 * static_cast<double>(n)));
    test.p_exact = test.p_value;
    return test;
  }
  // P(X = k) by its recurrence; 2^-1000 is still a normal number.
  double point = std::ldexp(1.0, static_cast<int>(-n));
  double below = point;
  for (int64_t k = 0; k < least; ++k) {
    point *= static_cast<double>(n - k) / static_cast<double>(k + 1);
    below += point;
  }
  test.p_exact = std::min(1.0, 2 * below);
  test.p_value = only_before == only_after ? 1.0 : 2 * below - point;
  return test;
}

}  // namespace lathe::engine
