// The clip search where elements do not count the same.
#ifndef LATHE_WORKER_ENGINE_KERNELS_WEIGHTED_CLIP_H_
#define LATHE_WORKER_ENGINE_KERNELS_WEIGHTED_CLIP_H_

#include <cstdint>

#include "worker/engine/kernels/quantize.h"

namespace lathe::engine {

// As FindScale with clip_mse, for the least sum of importance[i] (w[i] - decoded)^2 over 20 shrink
// ratios. w, importance: [count], finite, importance >= 0; where all of it is 0, the largest
// magnitude decides.
SetScale FindScaleWeighted(const float* w, const float* importance, int64_t count,
                           const RoundingRule& rule);

// The integer that RoundSet gives for one weight; `inverse` is 1 / s.scale.
inline int32_t RoundOne(float w, float inverse, int32_t zero_point, int32_t low, int32_t high) {
  // Clamped as a float first: a far outlier is no int32.
  const auto zero = static_cast<float>(zero_point);
  const float t = __builtin_nearbyintf(w * inverse);
  const float q =
      std::min(std::max(t, static_cast<float>(low) - zero), static_cast<float>(high) - zero);
  return static_cast<int32_t>(q) + zero_point;
}

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_KERNELS_WEIGHTED_CLIP_H_
