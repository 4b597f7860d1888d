// With k = min(m, n) and G = A A^T (m <= n) or A^T A:
//
//   G = Q diag(lambda) Q^T,  sigma_i = sqrt(lambda_i),  U = Q (or V = Q),  sigma_i v_i = A^T u_i.
//
// The best approximation of rank r is the projection of A on the first r eigenvectors (Eckart,
// Young, 1936), so the factors' product depends on the span of the vectors alone, and the singular
// values are the norms of the projected rows. Squaring loses what is below sqrt(eps) sigma_1: 3e-4
// in float32. Where such singular values are wanted and matter, the Gram matrix is float64.
#include "worker/engine/linalg/exact_svd.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/engine/linalg/lapack.h"
#include "worker/engine/linalg/products.h"
#include "worker/engine/linalg/randomized_range.h"
#include "worker/engine/linalg/symmetric_eigen.h"

namespace lathe::engine {
namespace {

// Up to this size float64 costs nothing worth saving.
constexpr int64_t kSmallSide = 256;
// lambda below this share of the largest is rounding in float32. It matters when what the factors
// leave out is as small: less than the second share of the energy.
constexpr double kFloatEigenvalueFloor = 1e-7;
constexpr double kFloatEnergyTail = 1e-5;
// What the residual may be beyond the eigenvalues' promise: relative, and of norm(A)^2 (1e-4 of the
// norm itself).
constexpr double kResidualFactor = 1.01;
constexpr double kResidualFloor = 1e-8;
// Below this share of the energy a residual is computed, not got by subtraction.
constexpr double kDifferenceFloor = 1e-2;
// How far from itself a random vector may come back from an orthonormal basis: a little more than
// float32's rounding.
constexpr double kOrthonormal = 1e-4;
constexpr uint64_t kProbeSeed = 0x70726f6265;

// Least r with sum_{i <= r} values[i] >= energy * total.
int64_t RankForEnergy(const std::vector<double>& values, double energy, double total) {
  const double wanted = energy * total * (1 - kEnergySlack);
  double sum = 0;
  int64_t rank = 0;
  while (rank < static_cast<int64_t>(values.size()) && sum < wanted) {
    sum += std::max(values[static_cast<size_t>(rank)], 0.0);
    ++rank;
  }
  return std::max<int64_t>(rank, 1);
}

// Energy beyond the first `rank` eigenvalues, as a share of all.
double Tail(const std::vector<double>& values, int64_t rank, double total) {
  double tail = 0;
  for (size_t i = static_cast<size_t>(rank); i < values.size(); ++i) {
    tail += std::max(values[i], 0.0);
  }
  return tail / total;
}

enum class Verdict { kDone, kTooCoarse, kWrong };

struct Attempt {
  Verdict verdict = Verdict::kDone;
  LowRankFactors factors;
};

template <typename T>
absl::StatusOr<Attempt> TryGram(const Matrix& matrix, std::vector<T> gram,
                                const LowRankRequest& request, Parallel& parallel) {
  constexpr bool kFloat = sizeof(T) == sizeof(float);
  const bool left = matrix.m <= matrix.n;
  const int64_t k = std::min(matrix.m, matrix.n);
  ASSIGN_OR_RETURN(SymmetricEigen<T> eigen, SymmetricEigen<T>::Make(k, std::move(gram), parallel));
  const std::vector<double>& values = eigen.values();

  Attempt attempt;
  int64_t rank = request.rank;
  if (rank == 0) rank = RankForEnergy(values, request.energy, matrix.squared_norm);
  const bool small = values[static_cast<size_t>(rank - 1)] < kFloatEigenvalueFloor * values[0];
  if (kFloat && small && Tail(values, rank, matrix.squared_norm) < kFloatEnergyTail) {
    attempt.verdict = Verdict::kTooCoarse;
    return attempt;
  }
  if (request.max_rank > 0 && rank > request.max_rank) {
    attempt.factors.rank = rank;
    attempt.factors.complete = false;
    return attempt;
  }
  // The energy that a float32 eigenvalue promises is rounded; the projection's is not. So a few
  // vectors more are looked at, and the least rank that truly reaches the bound is taken.
  const double energy = kFloat ? request.energy : 0;
  for (int64_t extra = energy > 0 ? 2 : 0;; extra *= 4) {
    const int64_t count = std::min(k, rank + extra);
    ASSIGN_OR_RETURN(std::vector<T> vectors, eigen.Vectors(count, parallel));
    std::vector<float> basis(vectors.begin(), vectors.end());
    const int64_t length = left ? matrix.n : matrix.m;
    std::vector<float> other(static_cast<size_t>(count * length));
    Multiply(Side::kPlain, left ? Side::kPlain : Side::kTransposed, count, length, k, 1.0f,
             basis.data(), matrix.a, 0.0f, other.data(), parallel);
    attempt.factors =
        FactorsOf(matrix, left, std::move(basis), std::move(other), count, energy, parallel);
    if (attempt.factors.complete || count == k) break;
  }
  if (!attempt.factors.complete) {
    attempt.verdict = Verdict::kTooCoarse;
    return attempt;
  }
  attempt.factors.algorithm = kFloat ? "exact" : "exact, float64";
  const double residual = attempt.factors.relative_residual;
  const double promised = Tail(values, attempt.factors.rank, matrix.squared_norm);
  if (residual * residual > kResidualFactor * promised + kResidualFloor) {
    attempt.verdict = Verdict::kWrong;
  }
  if (request.max_rank > 0 && attempt.factors.rank > request.max_rank) {
    LowRankFactors refused;
    refused.rank = attempt.factors.rank;
    refused.complete = false;
    attempt.factors = std::move(refused);
  }
  return attempt;
}

// Whether rows [count, length] are orthonormal, by V V^T x = x for a random x: what is not, shows
// with certainty for all purposes.
bool IsOrthonormal(int64_t length, int64_t count, const float* rows, Parallel& parallel) {
  std::vector<float> x(static_cast<size_t>(count));
  for (size_t i = 0; i < x.size(); ++i) x[i] = BinomialNormal(kProbeSeed, i);
  std::vector<float> image(static_cast<size_t>(length));
  std::vector<float> back(static_cast<size_t>(count));
  Multiply(Side::kPlain, Side::kPlain, 1, length, count, 1.0f, x.data(), rows, 0.0f, image.data(),
           parallel);
  Multiply(Side::kPlain, Side::kTransposed, 1, count, length, 1.0f, image.data(), rows, 0.0f,
           back.data(), parallel);
  double change = 0;
  double norm = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    change += std::pow(static_cast<double>(back[i]) - static_cast<double>(x[i]), 2);
    norm += std::pow(static_cast<double>(x[i]), 2);
  }
  return change <= kOrthonormal * kOrthonormal * norm;
}

// The last resort: LAPACK's own, on A^T as column-major sees it: A = U S V^T is
// A^T = V S U^T, whose "u" is V and whose "vt" is U^T.
absl::StatusOr<LowRankFactors> ByLapack(const Matrix& matrix, const LowRankRequest& request,
                                        Parallel& parallel) {
  const int64_t m = matrix.m;
  const int64_t n = matrix.n;
  const int64_t k = std::min(m, n);
  std::vector<float> a(matrix.a, matrix.a + m * n);
  std::vector<float> s(static_cast<size_t>(k));
  std::vector<float> v(static_cast<size_t>(n * k));   // column-major [n, k]: rows of V^T
  std::vector<float> ut(static_cast<size_t>(k * m));  // column-major [k, m]: rows of U
  const int info = lapack::SingularValues(static_cast<int>(n), static_cast<int>(m), a.data(),
                                          s.data(), v.data(), ut.data());
  if (info != 0) {
    return absl::InternalError(absl::StrCat("the singular values of a ", m, " x ", n,
                                            " matrix did not converge (sgesdd: ", info, ")"));
  }
  LowRankFactors factors;
  factors.rank = request.rank;
  if (factors.rank == 0) {
    std::vector<double> squares(s.begin(), s.end());
    for (double& value : squares) value *= value;
    factors.rank = RankForEnergy(squares, request.energy, matrix.squared_norm);
  }
  if (request.max_rank > 0 && factors.rank > request.max_rank) {
    factors.complete = false;
    return factors;
  }
  const int64_t r = factors.rank;
  factors.s.assign(s.begin(), s.begin() + r);
  factors.vt.assign(v.begin(), v.begin() + r * n);
  factors.u.resize(static_cast<size_t>(m * r));
  for (int64_t i = 0; i < m; ++i) std::copy_n(ut.data() + i * k, r, factors.u.data() + i * r);
  std::vector<float> us = factors.u;
  for (int64_t i = 0; i < m * r; ++i) us[static_cast<size_t>(i)] *= s[static_cast<size_t>(i % r)];
  factors.relative_residual =
      std::sqrt(SquaredResidual(m, n, r, matrix.a, us.data(), factors.vt.data(), parallel) /
                matrix.squared_norm);
  factors.algorithm = "exact, sgesdd";
  return factors;
}

}  // namespace

LowRankFactors FactorsOf(const Matrix& matrix, bool left, std::vector<float> basis,
                         std::vector<float> other, int64_t rank, double energy,
                         Parallel& parallel) {
  const int64_t m = matrix.m;
  const int64_t n = matrix.n;
  // Rows of `other` are sigma_i times the other side's vectors.
  const int64_t length = left ? n : m;
  std::vector<double> squares(static_cast<size_t>(rank), 0.0);
  parallel.Run(rank, [&](int64_t i) {
    double sum = 0;
    for (int64_t j = 0; j < length; ++j) {
      const double value = other[static_cast<size_t>(i * length + j)];
      sum += value * value;
    }
    squares[static_cast<size_t>(i)] = sum;
  });
  LowRankFactors factors;
  factors.rank = rank;
  if (energy > 0) {
    double sum = 0;
    for (const double square : squares) sum += square;
    factors.complete = sum >= energy * matrix.squared_norm * (1 - kEnergySlack);
    if (!factors.complete) return factors;
    factors.rank = RankForEnergy(squares, energy, matrix.squared_norm);
  }
  const int64_t r = factors.rank;
  const int64_t side = left ? m : n;
  basis.resize(static_cast<size_t>(r * side));
  other.resize(static_cast<size_t>(r * length));

  std::vector<float> columns = Transposed(r, m, left ? basis.data() : other.data());
  const float* rows = left ? other.data() : basis.data();
  double kept = 0;
  for (int64_t i = 0; i < r; ++i) kept += squares[static_cast<size_t>(i)];
  double left_out = 1 - kept / matrix.squared_norm;
  // A projection's squared error is what it leaves out. As a difference of float32's products that
  // is good to 1e-6 of the whole, unless the basis is not orthonormal.
  if (left_out < kDifferenceFloor || !IsOrthonormal(side, r, basis.data(), parallel)) {
    left_out =
        SquaredResidual(m, n, r, matrix.a, columns.data(), rows, parallel) / matrix.squared_norm;
  }
  factors.relative_residual = std::sqrt(left_out);

  // Take the singular values out of the side that has them.
  factors.s.resize(static_cast<size_t>(r));
  for (int64_t i = 0; i < r; ++i) {
    const double sigma = std::sqrt(squares[static_cast<size_t>(i)]);
    factors.s[static_cast<size_t>(i)] = static_cast<float>(sigma);
    const float inverse = sigma > 0 ? static_cast<float>(1 / sigma) : 0.0f;
    for (int64_t j = 0; j < length; ++j) other[static_cast<size_t>(i * length + j)] *= inverse;
  }
  factors.u = left ? std::move(columns) : Transposed(r, m, other.data());
  factors.vt = left ? std::move(other) : std::move(basis);
  return factors;
}

absl::StatusOr<LowRankFactors> ExactFactors(const Matrix& matrix, const LowRankRequest& request,
                                            Parallel& parallel) {
  const int64_t k = std::min(matrix.m, matrix.n);
  if (k > kMaxExactSide) {
    return absl::ResourceExhaustedError(
        absl::StrCat("an exact factorization of a ", matrix.m, " x ", matrix.n,
                     " matrix takes too much memory and time (the smaller side may be ",
                     kMaxExactSide, "); use algorithm: randomized with a rank"));
  }
  const bool rows = matrix.m <= matrix.n;
  const bool near_one = request.energy > 0 && 1 - request.energy < kFloatEnergyTail;
  if (k > kSmallSide && !near_one) {
    absl::StatusOr<Attempt> attempt =
        TryGram(matrix, Gram(rows, matrix.m, matrix.n, matrix.a, parallel), request, parallel);
    if (attempt.ok() && attempt->verdict == Verdict::kDone) return std::move(attempt->factors);
  }
  {
    const std::vector<double> wide(matrix.a, matrix.a + matrix.m * matrix.n);
    absl::StatusOr<Attempt> attempt =
        TryGram(matrix, Gram(rows, matrix.m, matrix.n, wide.data(), parallel), request, parallel);
    if (attempt.ok() && attempt->verdict == Verdict::kDone) return std::move(attempt->factors);
  }
  return ByLapack(matrix, request, parallel);
}

}  // namespace lathe::engine
