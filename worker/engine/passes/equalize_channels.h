// Cross-layer equalization (Nagel et al., arXiv 1906.04721, section 4.1): evens out the ranges of
// the channels between two layers, which helps where one scale serves many channels.
//
//   y2 = W2 f(W1 x + b1) = (W2 S) f(S^-1 W1 x + S^-1 b1)     f: nothing, or Relu
//   s_i = sqrt(r1_i / r2_i)      r1_i: largest magnitude of channel i of W1, r2_i: of input i of W2
//
// Preconditions: both weights are float32 initializers of one use, the value between them is read
// by the second layer alone, and between them stands at most a Relu.
#ifndef LATHE_WORKER_ENGINE_PASSES_EQUALIZE_CHANNELS_H_
#define LATHE_WORKER_ENGINE_PASSES_EQUALIZE_CHANNELS_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/engine/graph/layers.h"
#include "worker/engine/graph/model.h"
#include "worker/engine/passes/integer_units.h"

namespace lathe::engine {

// How many pairs of layers were equalized. INVALID_ARGUMENT: weights that are not finite (named).
absl::StatusOr<int64_t> EqualizeChannels(Model& model, const std::vector<Weight>& weights,
                                         const std::vector<IntegerUnit>& units);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_PASSES_EQUALIZE_CHANNELS_H_
