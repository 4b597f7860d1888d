// Weights that 8 bits with a scale a channel harm: found by measuring, kept float.
#ifndef LATHE_WORKER_ENGINE_METHODS_SAFE_WEIGHTS_H_
#define LATHE_WORKER_ENGINE_METHODS_SAFE_WEIGHTS_H_

#include <cstdint>
#include <set>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/engine/calibrate/output_noise.h"
#include "worker/engine/graph/model.h"
#include "worker/engine/methods/method.h"

namespace lathe::engine {

// Above what the outputs must keep in the end: rounding weights is not to use it all up.
inline constexpr double kWeightMarginDb = 4.0;

// quantize_weights at 8 bits on `model`, for what the step of `ctx` targets, but for `kept_float`
// (by Weight::name). `outcome`: may be null. Errors as ApplyQuantizeWeights.
absl::Status StoreWeightsIn8Bits(const StepContext& ctx, Model& model,
                                 const std::set<std::string>& kept_float, StepOutcome* outcome);

// The fewest weights, worst first and `most` at most, that must stay float for the outputs of
// ctx.model with all others in 8 bits to keep `min_sqnr_db`. Errors: those of building and running
// candidates.
absl::StatusOr<std::set<std::string>> FindUnsafeWeights(const StepContext& ctx,
                                                        const OutputNoise& noise,
                                                        double min_sqnr_db, int64_t most);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_METHODS_SAFE_WEIGHTS_H_
