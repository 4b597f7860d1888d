// SmoothQuant (Xiao et al., arXiv 2211.10438, section 4): moves outliers of activations into the
// weights that read them, so that one range fits all channels.
//
//   s_j = max|X_j|^a / max|W_j|^(1 - a)      j: a channel of the input
//   before: y = MatMul(x, W)
//   after:  y = MatMul(Mul(x, 1 / s), W'),   W'[j, :] = s_j W[j, :]
//
// Products of one input share s. Where nothing else reads the input and it comes from a
// normalization's scale and shift, 1 / s goes into these and no Mul is needed.
#ifndef LATHE_WORKER_ENGINE_PASSES_SMOOTH_INPUTS_H_
#define LATHE_WORKER_ENGINE_PASSES_SMOOTH_INPUTS_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/engine/graph/layers.h"
#include "worker/engine/graph/model.h"
#include "worker/engine/passes/integer_units.h"

namespace lathe::engine {

struct Smoothed {
  int64_t inputs = 0;  // smoothed
  int64_t folded = 0;  // of them, without a Mul of their own
};

// `largest`: by input value, the largest magnitude seen in each channel (its last axis). Only
// kMatMul and kGemm units without not_static are touched, and only where all uses of their weights
// are units of one input. `weights` and `units` are `model`'s and must be found anew afterwards.
// `alpha` in [0, 1]. INVALID_ARGUMENT: weights that are not finite (named).
absl::StatusOr<Smoothed> SmoothInputs(Model& model, const std::vector<Weight>& weights,
                                      const std::vector<IntegerUnit>& units,
                                      const std::map<std::string, std::vector<float>>& largest,
                                      double alpha);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_PASSES_SMOOTH_INPUTS_H_
