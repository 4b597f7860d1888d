#include "worker/engine/passes/lstm_weight.h"

namespace lathe::engine {

LstmWeight RoundLstmWeight(std::span<const float> w, const Shape& dims,
                           const IntegerWeightRule& rule, Parallel& parallel) {
  LstmWeight out;
  out.set_dims = rule.per_channel ? Shape{dims[0], dims[2]} : Shape{dims[0]};
  const auto each = static_cast<size_t>(dims[1] * dims[2]);
  for (size_t d = 0; d < static_cast<size_t>(dims[0]); ++d) {
    const IntegerWeight one =
        RoundIntegerWeight(w.subspan(d * each, each), {dims[1], dims[2]}, 1, rule, {}, parallel);
    out.integers += one.integers;
    out.scales.insert(out.scales.end(), one.scales.begin(), one.scales.end());
    out.squared_error += one.squared_error;
    out.squared_norm += one.squared_norm;
    out.repaired_channels += one.repaired_channels;
  }
  return out;
}

}  // namespace lathe::engine
