#include "worker/engine/linalg/symmetric_eigen.h"

#include <algorithm>
#include <atomic>
#include <utility>

#include "absl/strings/str_cat.h"
#include "worker/engine/linalg/lapack.h"
#include "worker/engine/linalg/tridiagonalize.h"

namespace lathe::engine {
namespace {

// Columns that one call turns back. Fixed: LAPACK blocks its work by it.
constexpr int64_t kColumns = 256;
// From this share of the vectors on divide and conquer, which finds all, is faster.
constexpr int64_t kManyDivisor = 8;

}  // namespace

template <typename T>
absl::StatusOr<SymmetricEigen<T>> SymmetricEigen<T>::Make(int64_t n, std::vector<T> matrix,
                                                          Parallel& parallel) {
  lapack::UseOneBlasThread();
  SymmetricEigen eigen;
  eigen.n_ = static_cast<int>(n);
  eigen.reflectors_ = std::move(matrix);
  const size_t size = static_cast<size_t>(n);
  std::vector<T> d(size);
  std::vector<T> e(size);
  eigen.tau_.resize(size);
  int info = Tridiagonalize(eigen.n_, eigen.reflectors_.data(), d.data(), e.data(),
                            eigen.tau_.data(), parallel);
  eigen.diagonal_.assign(d.begin(), d.end());
  eigen.off_diagonal_.assign(e.begin(), e.end());
  eigen.values_ = eigen.diagonal_;
  std::vector<double> scratch = eigen.off_diagonal_;
  if (info == 0) {
    info = lapack::TridiagonalEigenvalues(eigen.n_, eigen.values_.data(), scratch.data());
  }
  if (info != 0) {
    return absl::InternalError(absl::StrCat("the eigenvalues of a ", n, " x ", n,
                                            " matrix did not converge (", info, ")"));
  }
  std::reverse(eigen.values_.begin(), eigen.values_.end());
  return eigen;
}

template <typename T>
absl::StatusOr<std::vector<T>> SymmetricEigen<T>::Vectors(int64_t count, Parallel& parallel) {
  const int64_t n = n_;
  std::vector<T> vectors(static_cast<size_t>(count * n));
  if (count == 0) return vectors;
  int failure = 0;
  // Copies the last `count` columns of z [n, ...], the last first.
  const auto take = [&](const auto& z) {
    const int64_t columns = static_cast<int64_t>(z.size()) / n;
    for (int64_t i = 0; i < count; ++i) {
      std::copy_n(z.data() + (columns - 1 - i) * n, n, vectors.data() + i * n);
    }
  };
  if (count * kManyDivisor > n) {
    std::vector<T> d(diagonal_.begin(), diagonal_.end());
    std::vector<T> e(off_diagonal_.begin(), off_diagonal_.end());
    std::vector<T> z(static_cast<size_t>(n * n));
    failure = lapack::AllTridiagonalEigenvectors(n_, d.data(), e.data(), z.data());
    if (failure == 0) take(z);
  } else {
    std::vector<double> d = diagonal_;
    std::vector<double> e = off_diagonal_;
    std::vector<double> z(static_cast<size_t>(count * n));
    failure = lapack::TridiagonalEigenvectors(n_, d.data(), e.data(),
                                              static_cast<int>(n - count + 1), n_, z.data());
    if (failure == 0) take(z);
  }
  if (failure != 0) {
    return absl::InternalError(absl::StrCat("the eigenvectors of a ", n, " x ", n,
                                            " matrix were not found (", failure, ")"));
  }
  std::atomic<int> info{0};
  parallel.Run((count + kColumns - 1) / kColumns, [&](int64_t block) {
    const int64_t first = block * kColumns;
    const int64_t columns = std::min(kColumns, count - first);
    const int own = lapack::ApplyReflectors(n_, static_cast<int>(columns), reflectors_.data(),
                                            tau_.data(), vectors.data() + first * n);
    if (own != 0) info.store(own);
  });
  if (info.load() != 0) {
    return absl::InternalError(
        absl::StrCat("LAPACK refused to turn eigenvectors back (", info.load(), ")"));
  }
  return vectors;
}

template class SymmetricEigen<float>;
template class SymmetricEigen<double>;

}  // namespace lathe::engine
