// Exact singular vectors by the Gram matrix.
#ifndef LATHE_WORKER_ENGINE_LINALG_EXACT_SVD_H_
#define LATHE_WORKER_ENGINE_LINALG_EXACT_SVD_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/engine/linalg/low_rank_factor.h"

namespace lathe::engine {

// A matrix [m, n], row-major, not zero, with its squared Frobenius norm in float64.
struct Matrix {
  int64_t m = 0;
  int64_t n = 0;
  const float* a = nullptr;
  double squared_norm = 0;
};

// See FactorLowRank; request.algorithm is not looked at.
absl::StatusOr<LowRankFactors> ExactFactors(const Matrix& matrix, const LowRankRequest& request,
                                            Parallel& parallel);

// Factors from orthonormal rows `basis` [rank, m] (`left`) or [rank, n], the most important first,
// and the projection of the matrix on them, `other` [rank, n] or [rank, m]: basis A or basis A^T.
// With energy > 0 the least rank that reaches it is kept; complete is false when none does.
// relative_residual is filled in, as FactorLowRank says.
LowRankFactors FactorsOf(const Matrix& matrix, bool left, std::vector<float> basis,
                         std::vector<float> other, int64_t rank, double energy, Parallel& parallel);

// Share of the energy asked for that rounding may cost.
inline constexpr double kEnergySlack = 1e-12;

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_LINALG_EXACT_SVD_H_
