#include "worker/engine/kernels/dynamic_range.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace lathe::engine {

DynamicRange FindDynamicRange(const float* x, int64_t count) {
  // Side by side, so that a compiler can keep them in vectors; smallest and largest do not depend
  // on the order.
  constexpr int64_t kSlots = 16;
  std::array<float, kSlots> lows{};
  std::array<float, kSlots> highs{};
  int64_t i = 0;
  for (; i + kSlots <= count; i += kSlots) {
    for (int64_t j = 0; j < kSlots; ++j) {
      lows[j] = x[i + j] < lows[j] ? x[i + j] : lows[j];
      highs[j] = x[i + j] > highs[j] ? x[i + j] : highs[j];
    }
  }
  for (; i < count; ++i) {
    lows[0] = x[i] < lows[0] ? x[i] : lows[0];
    highs[0] = x[i] > highs[0] ? x[i] : highs[0];
  }
  const float lo = *std::min_element(lows.begin(), lows.end());
  const float hi = *std::max_element(highs.begin(), highs.end());
  DynamicRange range;
  if (lo == hi) return range;
  range.scale = (hi - lo) / 255.0F;
  const float zero = (0.0F - lo) / range.scale;
  // Written so that a NaN (of an infinite range) becomes 0.
  const float clamped = zero > 0 ? std::min(zero, 255.0F) : 0.0F;
  range.zero_point = static_cast<uint8_t>(std::nearbyint(clamped));
  return range;
}

}  // namespace lathe::engine
