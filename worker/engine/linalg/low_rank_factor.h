// The best approximation of a matrix by one of low rank.
#ifndef LATHE_WORKER_ENGINE_LINALG_LOW_RANK_FACTOR_H_
#define LATHE_WORKER_ENGINE_LINALG_LOW_RANK_FACTOR_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/engine/tensor/parallel.h"

namespace lathe::engine {

enum class SvdAlgorithm { kAuto, kExact, kRandomized };

struct LowRankRequest {
  // Exactly one of the two is set. `energy` in (0, 1]: the least r with
  // sum_{i <= r} sigma_i^2 >= energy * norm(A)^2.
  int64_t rank = 0;
  double energy = 0;
  // A larger rank is of no use: find out that it is larger, and stop. 0: no such bound.
  int64_t max_rank = 0;
  SvdAlgorithm algorithm = SvdAlgorithm::kAuto;
  uint64_t seed = 0;
};

// A ~ u diag(s) vt.
struct LowRankFactors {
  int64_t rank = 0;       // r; 0 when A is zero
  std::vector<float> u;   // [m, r], orthonormal columns
  std::vector<float> s;   // [r], falling, >= 0
  std::vector<float> vt;  // [r, n], orthonormal rows (to float32's rounding times s[0] / s[i])
  // norm(A - u diag(s) vt) / norm(A): sqrt(norm(A)^2 - norm(u^T A)^2) / norm(A) for an orthonormal
  // u, in float64; computed from the factors where that difference is below 1e-2 norm(A)^2.
  double relative_residual = 0;
  // How they were found: "exact", "exact, float64", "randomized", "exact, sgesdd".
  std::string algorithm;
  // False: the request needs more than max_rank, and there are no factors. `rank` is then the rank
  // needed, or with kRandomized the least it can be.
  bool complete = true;
};

// Rank whose two factors have ratio * m * n elements: floor(ratio m n / (m + n)), at least 1.
int64_t RankForParameterRatio(int64_t m, int64_t n, double ratio);
// Largest rank whose two factors have fewer elements than the matrix: r (m + n) < m n. May be 0.
int64_t LargestUsefulRank(int64_t m, int64_t n);

// a: [m, n], row-major, finite values; m, n >= 1.
//
// kExact: Gram matrix of the smaller side k and a symmetric eigensolver; float32, float64 where
// singular values below 3e-4 sigma_1 count or k is small; sgesdd when the eigensolver fails or the
// residual is not what the eigenvalues promise. Time 4/3 k^3 + 2 k^2 r + 2 m n r, memory 4 to 8 k^2
// bytes beside the factors. kRandomized: block Lanczos from a random start (randomized_range.h),
// time about 13 m n r. kAuto: exact when r > 0.1 k or k <= 1500.
//
// Same result for any number of threads; the same bits for the same seed on the same kind of CPU
// (BLAS kernels differ in rounding). Signs: the largest magnitude of each column of u is positive.
//
// Errors: RESOURCE_EXHAUSTED when an exact solution is asked for and k > kMaxExactSide; INTERNAL
// when LAPACK fails in every way.
absl::StatusOr<LowRankFactors> FactorLowRank(int64_t m, int64_t n, std::span<const float> a,
                                             const LowRankRequest& request, Parallel& parallel);

inline constexpr int64_t kMaxExactSide = 16384;

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_LINALG_LOW_RANK_FACTOR_H_
