// GPTQ: rounding column after column, each column's error made up for by those not yet rounded.
//
//   e = (w_j - q(w_j)) / U_jj,   w_k -= e U_jk for k > j,   H^-1 = U^T U
//
// (Frantar et al., 2210.17323.) Columns are done in blocks of 128: within a block the update is
// applied at once, to the columns behind it by one product a block. Damping is 0.01 mean(diag H),
// more where H is not definite. A group's scale is found when its first column is reached, of
// weights that carry the errors so far; with `act_order` columns go by falling H_jj, and scales are
// those of the weights as they were ("static groups").
//
// Deviation: an input that was always 0 (H_jj = 0) has its weights rounded to nearest where the
// paper sets them to 0: calibration may have missed what comes later.
#ifndef LATHE_WORKER_ENGINE_METHODS_GPTQ_H_
#define LATHE_WORKER_ENGINE_METHODS_GPTQ_H_

#include <vector>

#include "absl/status/statusor.h"
#include "worker/engine/linalg/inverse_factor.h"
#include "worker/engine/methods/rounding_problem.h"

namespace lathe::engine {

// What GPTQ needs of a layer's inputs, found once for all layers that share them.
struct GptqFactors {
  std::vector<std::vector<float>> u;  // [parts][length, length]
  // Columns in the order of rounding; empty: as they are. One for all parts.
  std::vector<int64_t> order;
};

// Errors of FactorInverse (linalg/inverse_factor.h).
absl::StatusOr<GptqFactors> FactorForGptq(const InputMoments& moments, bool act_order);

// `factors` of problem.moments. `divisors`: those by which the problem was divided
// (rounding_problem.h) after the factors were found; empty: none. Cost: a product of the weight
// with half of H. The same result for any number of threads.
RoundedRows RoundByGptq(const RoundingProblem& problem, const GptqFactors& factors,
                        const std::vector<float>& divisors, Parallel& parallel);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_METHODS_GPTQ_H_
