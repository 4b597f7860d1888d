// Eigenvalues first, then as many eigenvectors as they turn out to be needed.
#ifndef LATHE_WORKER_ENGINE_LINALG_SYMMETRIC_EIGEN_H_
#define LATHE_WORKER_ENGINE_LINALG_SYMMETRIC_EIGEN_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/engine/tensor/parallel.h"

namespace lathe::engine {

// A symmetric matrix, reduced to tridiagonal form in T = float or double. A few vectors of the
// tridiagonal matrix are found one by one, in double, so that they are orthogonal to T's rounding
// however clustered the eigenvalues are; many are found all together, by divide and conquer.
template <typename T>
class SymmetricEigen {
 public:
  // `matrix` [n, n] row-major, upper triangle; taken over. Cost: 4/3 n^3. INTERNAL when LAPACK
  // gives up.
  static absl::StatusOr<SymmetricEigen> Make(int64_t n, std::vector<T> matrix, Parallel& parallel);

  // All n, falling.
  const std::vector<double>& values() const { return values_; }

  // The eigenvectors of the `count` largest, [count, n] row-major, the largest first.
  // Cost: 2 n^2 count.
  absl::StatusOr<std::vector<T>> Vectors(int64_t count, Parallel& parallel);

 private:
  int n_ = 0;
  std::vector<T> reflectors_;
  std::vector<T> tau_;
  std::vector<double> diagonal_;
  std::vector<double> off_diagonal_;
  std::vector<double> values_;
};

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_LINALG_SYMMETRIC_EIGEN_H_
