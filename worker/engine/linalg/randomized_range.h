// Low-rank factors by randomized block Lanczos.
#ifndef LATHE_WORKER_ENGINE_LINALG_RANDOMIZED_RANGE_H_
#define LATHE_WORKER_ENGINE_LINALG_RANDOMIZED_RANGE_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/engine/linalg/exact_svd.h"

namespace lathe::engine {

// See FactorLowRank; request.algorithm is not looked at. With an energy the range grows in blocks
// until it is met, and past max_rank it gives up: complete is false and rank max_rank + 1.
absl::StatusOr<LowRankFactors> RandomizedFactors(const Matrix& matrix,
                                                 const LowRankRequest& request, Parallel& parallel);

// Numbers of mean 0 and variance 1, near to normal: number `index` of a stream is the count of ones
// among 64 bits of a counter-based generator (SplitMix64's finalizer), less 32, over 4. Integers
// all the way: the same bits on every machine.
float BinomialNormal(uint64_t seed, uint64_t index);

// Replaces y [rows, columns] by orthonormal columns of the same span, by Cholesky QR in float64,
// `passes` times (two give orthonormality to rounding). Columns that depend on the others to
// float32's rounding are dropped. Returns the columns left.
absl::StatusOr<int64_t> Orthonormalize(int64_t rows, int64_t columns, std::vector<float>& y,
                                       int passes, Parallel& parallel);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_LINALG_RANDOMIZED_RANGE_H_
