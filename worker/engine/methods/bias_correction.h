// Takes the mean error that rounded weights make out of the bias.
//
//   b'[o] = b[o] + sum_k (W[o, k] - W^[o, k]) E[x_k]
//
// (Nagel et al., Data-Free Quantization, arXiv 1906.04721, section 4.2, with means from calibration
// data; a convolution's padding is taken for further inputs of that mean.)
#ifndef LATHE_WORKER_ENGINE_METHODS_BIAS_CORRECTION_H_
#define LATHE_WORKER_ENGINE_METHODS_BIAS_CORRECTION_H_

#include <cstddef>
#include <map>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/engine/calibrate/collect.h"
#include "worker/engine/graph/layers.h"
#include "worker/engine/passes/emit_integers.h"
#include "worker/engine/tensor/parallel.h"

namespace lathe::engine {

// By unit: one number an output channel, for every static linear unit of `plan` whose input's
// channels were seen and that has a bias or is a convolution. Weights must be finite.
absl::StatusOr<std::map<size_t, std::vector<float>>> BiasCorrections(
    const std::vector<IntegerUnit>& units, const std::vector<Weight>& weights,
    const IntegerPlan& plan, const Collected& seen, Parallel& parallel);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_METHODS_BIAS_CORRECTION_H_
