// How well a weight takes to few bits, from a look at some of its elements.
#ifndef LATHE_WORKER_ENGINE_EVALUATE_ROUNDING_ESTIMATE_H_
#define LATHE_WORKER_ENGINE_EVALUATE_ROUNDING_ESTIMATE_H_

#include <cstdint>
#include <optional>

#include "worker/engine/tensor/tensor.h"

namespace lathe::engine {

// Signal-to-noise ratio of symmetric rounding to nearest with one scale for each 32 neighbours,
// without clipping: 10 log10(sum w^2 / sum (w - w')^2), over at most kSampledElements elements in
// evenly spaced runs. nullopt for types that are not floats, empty and all-zero tensors, and where
// nothing is lost. It ranks layers; what a recipe makes of them stands in its report.
std::optional<double> EstimateRoundingSqnr(const Tensor& tensor, int bits);

inline constexpr int64_t kSampledElements = int64_t{64} << 10;

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_EVALUATE_ROUNDING_ESTIMATE_H_
