// How a layer's weights are distributed, before and after.
#ifndef LATHE_WORKER_ENGINE_EVALUATE_WEIGHT_HISTOGRAM_H_
#define LATHE_WORKER_ENGINE_EVALUATE_WEIGHT_HISTOGRAM_H_

#include <cstdint>
#include <span>

#include "absl/status/statusor.h"
#include "worker/engine/evaluate/histogram.h"
#include "worker/engine/evaluate/operand_source.h"
#include "worker/engine/tensor/parallel.h"

namespace lathe::engine {

// Over a common range, from the least to the greatest finite value of both. Empty when there is
// none.
struct WeightHistogram {
  Histogram before;
  Histogram after;
  bool sampled = false;  // not every weight was counted
};

// Weights that are counted of one layer, about: of larger ones evenly spaced pieces are.
inline constexpr int64_t kMaxCountedWeights = 16 * kPieceElements;

// In two passes over the pieces, nothing kept between them. The same for any number of threads.
// Errors: those of reading.
absl::StatusOr<WeightHistogram> CountWeights(const WeightPieces& pieces, Parallel& parallel);

// Of values in memory, as many after as before.
WeightHistogram CountWeights(std::span<const float> before, std::span<const float> after);

// Of `before` [m, n] against a product left [m, r] right [r, n], row-major, which is never made as
// a whole.
WeightHistogram CountProduct(int64_t m, int64_t n, int64_t r, const float* before,
                             const float* left, const float* right, Parallel& parallel);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_EVALUATE_WEIGHT_HISTOGRAM_H_
