// The triangular factor of an inverse, which rounding with error feedback walks down.
#ifndef LATHE_WORKER_ENGINE_LINALG_INVERSE_FACTOR_H_
#define LATHE_WORKER_ENGINE_LINALG_INVERSE_FACTOR_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"

namespace lathe::engine {

struct InverseFactor {
  // [n, n] row-major, upper triangular, positive diagonal: (H + damping mean(diag H) I)^-1 = U^T U.
  std::vector<float> u;
  double damping = 0;  // what was used
};

// `h`: [n, n], symmetric, both triangles given; diagonal elements that are 0 (inputs that were
// always 0) are taken as 1. `damping` > 0 is a share of the mean of the diagonal; where H is not
// definite with it, ten and a hundred times as much is tried.
//
// With R the upper factor of the Cholesky decomposition in reverse order, H = R R^T, U is R^-1: a
// decomposition and a triangular inverse, 2/3 n^3, where inverting first would take twice that.
// float64 up to n = 1024, float32 above. Errors: INVALID_ARGUMENT when an element is not finite, or
// nothing made it definite.
absl::StatusOr<InverseFactor> FactorInverse(int64_t n, const float* h, double damping);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_LINALG_INVERSE_FACTOR_H_
