// What an LSTM, GRU or RNN node says of itself and its inputs.
#ifndef LATHE_WORKER_ENGINE_OPS_FORWARD_RECURRENT_LAYER_H_
#define LATHE_WORKER_ENGINE_OPS_FORWARD_RECURRENT_LAYER_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/engine/graph/model.h"
#include "worker/engine/ops/forward/recurrent_activation.h"
#include "worker/engine/tensor/value.h"

namespace lathe::engine {

struct RecurrentLayer {
  int64_t steps = 0;
  int64_t batch = 0;
  int64_t width = 0;  // of an input
  int64_t hidden = 0;
  int64_t gates = 0;
  int64_t directions = 1;
  bool batch_first = false;
  bool reversed = false;  // a single direction, backwards
  float clip = 0;
  std::vector<int32_t> lengths;  // [batch]
  std::vector<RecurrentActivation> activations;
  size_t activations_each = 1;

  bool Backwards(int64_t direction) const { return reversed || direction == 1; }
  // Row of [hidden] in Y and in the states.
  int64_t OutputRow(int64_t step, int64_t direction, int64_t b) const {
    return batch_first ? (b * steps + step) * directions + direction
                       : (step * directions + direction) * batch + b;
  }
  int64_t StateRow(int64_t direction, int64_t b) const {
    return batch_first ? b * directions + direction : direction * batch + b;
  }
};

// Checks inputs 0 to 7 against each other: x, W, R, B, sequence_lens, initial_h, initial_c, P.
// INVALID_ARGUMENT or UNIMPLEMENTED (an activation), not naming the node.
absl::StatusOr<RecurrentLayer> RecurrentLayerOf(
    const Node& node, std::span<const Value> inputs, int64_t gates,
    const std::vector<RecurrentActivation::Kind>& activations);

// The same for the node of a context of a forward or backward run; errors name it.
template <typename Context>
absl::StatusOr<RecurrentLayer> ReadRecurrentLayer(
    const Context& ctx, int64_t gates, const std::vector<RecurrentActivation::Kind>& activations) {
  absl::StatusOr<RecurrentLayer> layer =
      RecurrentLayerOf(ctx.node(), ctx.inputs(), gates, activations);
  if (layer.ok()) return layer;
  const std::string what(layer.status().message());
  return absl::IsUnimplemented(layer.status()) ? ctx.Unsupported(what) : ctx.Error(what);
}

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_OPS_FORWARD_RECURRENT_LAYER_H_
