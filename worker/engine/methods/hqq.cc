#include "worker/engine/methods/hqq.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "worker/engine/kernels/weighted_clip.h"
#include "worker/engine/tensor/tensor.h"

namespace lathe::engine {
namespace {

constexpr float kFirstBeta = 10;
constexpr float kBetaGrowth = 1.01F;
constexpr int kRounds = 20;

// |x|^p for p = 3/4: two square roots.
float Power(float magnitude) {
  const float root = std::sqrt(magnitude);
  return root * std::sqrt(root);
}

// The error that least squares is not asked to make up for, in units of the scale.
float Shrink(float x, float beta) {
  const float magnitude = std::abs(x);
  if (magnitude == 0) return 0;
  const float left = magnitude - 1 / (std::sqrt(std::sqrt(magnitude)) * beta);
  return left <= 0 ? 0 : std::copysign(left, x);
}

struct Fit {
  SetScale scale;
  double cost = 0;
};

// One set; `q` is room for it.
SetScale FitSet(const float* w, int64_t count, const RoundingRule& rule, SetScale s,
                std::vector<float>& q) {
  const auto low = static_cast<int32_t>(LowestInteger(rule));
  const auto high = static_cast<int32_t>(HighestInteger(rule));
  q.resize(static_cast<size_t>(count));
  Fit best{s, INFINITY};
  float beta = kFirstBeta;
  for (int round = 0; round <= kRounds; ++round) {
    double cost = 0;
    for (int64_t i = 0; i < count; ++i) {
      q[static_cast<size_t>(i)] = static_cast<float>(
          RoundOne(w[i], 1.0F / s.scale, s.zero_point, low, high) - s.zero_point);
      cost += static_cast<double>(Power(std::abs(w[i] - q[static_cast<size_t>(i)] * s.scale)));
    }
    if (cost < best.cost) best = {s, cost};
    double over = 0;
    double under = 0;
    double shift = 0;
    for (int64_t i = 0; i < count; ++i) {
      const float steps = w[i] / s.scale;
      const float kept = steps - Shrink(steps - q[static_cast<size_t>(i)], beta);
      const float level = q[static_cast<size_t>(i)];
      over += static_cast<double>(level) * static_cast<double>(kept);
      under += static_cast<double>(level) * static_cast<double>(level);
      shift += static_cast<double>(level) - static_cast<double>(kept);
    }
    if (!rule.symmetric) {
      const double zero = std::clamp(
          std::nearbyint(static_cast<double>(s.zero_point) + shift / static_cast<double>(count)),
          0.0, static_cast<double>(high));
      s.zero_point = static_cast<int32_t>(zero);
    }
    if (!(under > 0) || !(over > 0)) break;
    s.scale = static_cast<float>(static_cast<double>(s.scale) * (over / under));
    if (!(s.scale >= kSmallestScale) || !std::isfinite(s.scale)) break;
    beta *= kBetaGrowth;
  }
  return best.scale;
}

}  // namespace

RoundedRows RoundByHqq(const RoundingProblem& problem, Parallel& parallel) {
  RoundedRows out = RoundNearest(problem, parallel);
  if (!out.half_fits || problem.one_set) return out;
  const int64_t sets = problem.sets_a_row();
  const int64_t pieces = (problem.rows + kRowsTogether - 1) / kRowsTogether;
  parallel.Run(pieces, [&](int64_t piece) {
    std::vector<float> room;
    const int64_t end = std::min(problem.rows, (piece + 1) * kRowsTogether);
    for (int64_t r = piece * kRowsTogether; r < end; ++r) {
      for (int64_t i = 0; i < sets; ++i) {
        const int64_t at = i * problem.set_length;
        SetScale& s = out.scales[static_cast<size_t>(r * sets + i)];
        const SetScale before = s;
        s = FitSet(problem.w.data() + r * problem.length + at,
                   std::min(problem.set_length, problem.length - at), problem.rule, s, room);
        if (problem.half_scales) {
          s.scale = HalfToFloat(FloatToHalf(s.scale));
          if (!(s.scale >= 6.2e-5F && s.scale <= 60000.0F)) s = before;
        }
      }
    }
  });
  RoundWithScales(problem, &out, parallel);
  return out;
}

}  // namespace lathe::engine
