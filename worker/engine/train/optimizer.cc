#include "worker/engine/train/optimizer.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace lathe::engine {

void OptimizerStep(const OptimizerOptions& options, int64_t step, double learning_rate, bool decay,
                   std::span<const float> grad, std::span<float> values, Moments* moments) {
  const size_t n = values.size();
  moments->first.resize(n);
  const auto weight_decay = static_cast<float>(decay ? options.weight_decay : 0.0);
  const auto rate = static_cast<float>(learning_rate);
  const auto b1 = static_cast<float>(options.beta1);
  const float* g = grad.data();
  float* w = values.data();
  float* m = moments->first.data();
  if (options.kind == OptimizerKind::kSgd) {
    const bool nesterov = options.nesterov && b1 > 0;
    for (size_t i = 0; i < n; ++i) {
      const float gi = g[i] + weight_decay * w[i];
      m[i] = b1 * m[i] + gi;
      w[i] -= rate * (nesterov ? gi + b1 * m[i] : m[i]);
    }
    return;
  }
  moments->second.resize(n);
  float* v = moments->second.data();
  const auto b2 = static_cast<float>(options.beta2);
  const auto t = static_cast<double>(step);
  // m^ / (sqrt(v^) + e), the corrections drawn out of the loop.
  const double correct1 = 1 - std::pow(options.beta1, t);
  const double correct2 = 1 - std::pow(options.beta2, t);
  const auto scale = static_cast<float>(learning_rate / correct1);
  const auto root = static_cast<float>(1 / std::sqrt(correct2));
  const auto epsilon = static_cast<float>(options.epsilon);
  const bool apart = options.kind == OptimizerKind::kAdamW;
  const float shrink = apart ? 1 - rate * weight_decay : 1;
  const float coupled = apart ? 0 : weight_decay;
  for (size_t i = 0; i < n; ++i) {
    const float gi = g[i] + coupled * w[i];
    m[i] = b1 * m[i] + (1 - b1) * gi;
    v[i] = b2 * v[i] + (1 - b2) * gi * gi;
    w[i] = w[i] * shrink - scale * m[i] / (std::sqrt(v[i]) * root + epsilon);
  }
}

double RateAt(const Schedule& schedule, int64_t step) {
  if (step <= schedule.warmup_steps) {
    return schedule.rate * static_cast<double>(step) / static_cast<double>(schedule.warmup_steps);
  }
  const auto span =
      static_cast<double>(std::max<int64_t>(1, schedule.total_steps - schedule.warmup_steps));
  const double done =
      std::clamp(static_cast<double>(step - schedule.warmup_steps - 1) / span, 0.0, 1.0);
  switch (schedule.kind) {
    case ScheduleKind::kConstant:
      return schedule.rate;
    case ScheduleKind::kCosine:
      return schedule.rate * 0.5 * (1 + std::cos(std::numbers::pi * done));
    case ScheduleKind::kLinear:
      return schedule.rate * (1 - done);
    case ScheduleKind::kStep:
      return schedule.every <= 0
                 ? schedule.rate
                 : schedule.rate *
                       std::pow(schedule.factor, static_cast<double>((step - 1) / schedule.every));
  }
  return schedule.rate;
}

}  // namespace lathe::engine
