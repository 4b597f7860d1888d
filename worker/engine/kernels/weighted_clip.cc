#include "worker/engine/kernels/weighted_clip.h"

#include <algorithm>
#include <cmath>

namespace lathe::engine {
namespace {

constexpr int kPoints = 20;
constexpr int kSlots = 8;  // sums side by side, in a fixed order

// In units of the scale, so that nothing overflows.
float WeightedSteps(const float* w, const float* importance, int64_t count, float inverse,
                    float low, float high) {
  float sums[kSlots] = {};
  int64_t i = 0;
  for (; i + kSlots <= count; i += kSlots) {
    for (int s = 0; s < kSlots; ++s) {
      const float t = w[i + s] * inverse;
      const float e = t - std::min(std::max(__builtin_nearbyintf(t), low), high);
      sums[s] += importance[i + s] * (e * e);
    }
  }
  for (; i < count; ++i) {
    const float t = w[i] * inverse;
    const float e = t - std::min(std::max(__builtin_nearbyintf(t), low), high);
    sums[i % kSlots] += importance[i] * (e * e);
  }
  float total = 0;
  for (const float sum : sums) total += sum;
  return total;
}

}  // namespace

SetScale FindScaleWeighted(const float* w, const float* importance, int64_t count,
                           const RoundingRule& rule) {
  float bounds[2] = {0, 0};
  float most = 0;
  for (int64_t i = 0; i < count; ++i) {
    bounds[0] = std::min(bounds[0], w[i]);
    bounds[1] = std::max(bounds[1], w[i]);
    most = std::max(most, importance[i]);
  }
  RoundingRule plain = rule;
  plain.clip_mse = false;
  SetScale best = FindScale(bounds, 2, plain);
  if (most <= 0 || (bounds[0] == 0 && bounds[1] == 0)) return best;
  const float smallest = rule.bits <= 4 ? 0.3F : 0.5F;
  double least = INFINITY;
  for (int point = 0; point < kPoints; ++point) {
    const float ratio =
        1.0F - (1.0F - smallest) * (static_cast<float>(point) / static_cast<float>(kPoints - 1));
    const float shrunk[2] = {bounds[0] * ratio, bounds[1] * ratio};
    const SetScale s = FindScale(shrunk, 2, plain);
    const auto zero = static_cast<float>(s.zero_point);
    const double steps = WeightedSteps(w, importance, count, 1.0F / s.scale,
                                       LowestInteger(rule) - zero, HighestInteger(rule) - zero);
    const double error = steps * static_cast<double>(s.scale) * static_cast<double>(s.scale);
    if (error >= least) continue;
    least = error;
    best = s;
  }
  return best;
}

}  // namespace lathe::engine
