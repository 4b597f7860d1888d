#include "worker/engine/methods/bias_correction.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "common/status_macros.h"

namespace lathe::engine {

absl::StatusOr<std::map<size_t, std::vector<float>>> BiasCorrections(
    const std::vector<IntegerUnit>& units, const std::vector<Weight>& weights,
    const IntegerPlan& plan, const Collected& seen, Parallel& parallel) {
  std::map<size_t, std::vector<float>> corrections;
  for (size_t u = 0; u < units.size(); ++u) {
    const IntegerUnit& unit = units[u];
    if (plan.forms[u] != UnitForm::kStatic || !unit.Linear()) continue;
    // A product without a bias would get an Add of its own.
    if (unit.bias.empty() && unit.kind == UnitKind::kMatMul) continue;
    const auto channels = seen.channels.find(unit.inputs[0]);
    if (channels == seen.channels.end()) continue;
    const Weight& weight = weights[static_cast<size_t>(unit.weight)];
    const WeightUse* use = nullptr;
    for (const WeightUse& candidate : weight.uses) {
      if (!candidate.node->outputs.empty() && candidate.node->outputs[0] == unit.node_output) {
        use = &candidate;
      }
    }
    // A weight that is transposed on the way is left as it is: its layout is the emitter's matter.
    if (use == nullptr || !use->permutation.empty()) continue;
    ASSIGN_OR_RETURN(const std::vector<float> w, ReadWeight(weight));
    const int axis = use->output_axis;
    const IntegerWeight rounded =
        RoundIntegerWeight(w, use->dims, axis, plan.weights, {}, parallel);
    const bool columns = axis == 1;  // [K, N]
    const int64_t outputs = use->dims[static_cast<size_t>(axis)];
    const int64_t inputs = use->dims[columns ? 0 : 1];
    int64_t inner = 1;
    for (size_t i = 2; i < use->dims.size(); ++i) inner *= use->dims[i];
    const int64_t a_group = outputs / std::max<int64_t>(1, use->groups);
    if (static_cast<int64_t>(channels->second.sum.size()) != inputs * use->groups) continue;
    std::vector<float> correction(static_cast<size_t>(outputs), 0.0f);
    for (int64_t o = 0; o < outputs; ++o) {
      const double scale = rounded.scales[plan.weights.per_channel ? static_cast<size_t>(o) : 0];
      double sum = 0;
      for (int64_t i = 0; i < inputs; ++i) {
        const int64_t channel = o / std::max<int64_t>(1, a_group) * inputs + i;
        double difference = 0;
        for (int64_t k = 0; k < inner; ++k) {
          const int64_t at = columns ? i * outputs + o : (o * inputs + i) * inner + k;
          const auto q = static_cast<int8_t>(rounded.integers[static_cast<size_t>(at)]);
          difference += static_cast<double>(w[static_cast<size_t>(at)]) - q * scale;
        }
        sum += difference * channels->second.Mean(static_cast<size_t>(channel));
      }
      correction[static_cast<size_t>(o)] = std::isfinite(sum) ? static_cast<float>(sum) : 0.0f;
    }
    corrections.emplace(u, std::move(correction));
  }
  return corrections;
}

}  // namespace lathe::engine
