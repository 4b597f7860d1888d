#include "worker/engine/linalg/inverse_factor.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "worker/engine/linalg/lapack.h"

namespace lathe::engine {
namespace {

constexpr int64_t kFloat64Side = 1024;
constexpr int kTries = 3;

// Empty when H is not definite.
template <typename T>
std::vector<float> Factor(int64_t n, const float* h, double added) {
  const auto count = static_cast<size_t>(n * n);
  // In reverse order of rows and columns, so that the lower factor is the upper one reversed.
  std::vector<T> a(count);
  std::reverse_copy(h, h + count, a.begin());
  for (int64_t i = 0; i < n; ++i) {
    T& diagonal = a[static_cast<size_t>(i * n + i)];
    diagonal = static_cast<T>((diagonal == T{0} ? 1.0 : static_cast<double>(diagonal)) + added);
  }
  const int side = static_cast<int>(n);
  if (lapack::CholeskyRows(side, a.data()) != 0) return {};
  if (lapack::InvertTriangleRows(side, a.data()) != 0) return {};
  std::vector<float> u(count, 0.0F);
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = i; j < n; ++j) {
      u[static_cast<size_t>(i * n + j)] =
          static_cast<float>(a[count - 1 - static_cast<size_t>(i * n + j)]);
    }
    const float diagonal = u[static_cast<size_t>(i * n + i)];
    if (!std::isfinite(diagonal) || diagonal <= 0) return {};
  }
  return u;
}

}  // namespace

absl::StatusOr<InverseFactor> FactorInverse(int64_t n, const float* h, double damping) {
  lapack::UseOneBlasThread();
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += h[i * n + i];
  if (!std::isfinite(sum)) {
    return absl::InvalidArgumentError("the matrix has elements that are not finite");
  }
  const double mean = sum / static_cast<double>(std::max<int64_t>(1, n));
  InverseFactor out;
  out.damping = damping;
  for (int i = 0; i < kTries; ++i, out.damping *= 10) {
    const double added = mean * out.damping;
    out.u = n <= kFloat64Side ? Factor<double>(n, h, added) : Factor<float>(n, h, added);
    if (!out.u.empty()) return out;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("a matrix of ", n, " rows is not definite, with up to ", out.damping / 10,
                   " of its mean diagonal added; calibrate with other or more examples"));
}

}  // namespace lathe::engine
