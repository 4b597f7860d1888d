// Randomized block Lanczos (Musco and Musco, "Randomized block Krylov methods for stronger and
// faster approximate singular value decomposition", 1504.05477, algorithm 2):
//
//   K_0 = orth(A Omega),  K_{j+1} = orth((I - Q Q^T) A A^T K_j),  Q = [K_0 ... K_q],
//   B = Q^T A = W S V^T,  U = Q W,
//
// Omega [n, b] random. Keeping all the K_j reaches an error with fewer products than the subspace
// iteration of Halko, Martinsson and Tropp (0909.4061), which keeps the last: for rank r, blocks of
// b = r / 2 + 8 and q = 4 stay within 0.6 % of the best where subspace iteration with q = 2 and
// oversampling r / 10 misses by 2 %, for the same work. A^T K_j is both B's next rows and the way
// to K_{j+1}. For an energy the range grows until norm(A)^2 - norm(B)^2 meets the bound: Q Q^T A is
// a projection, so that difference is exactly its squared error. Orthonormalization is Cholesky QR,
// twice for what is kept (Yamamoto et al., 2015); we take its Gram matrix in float64.
#include "worker/engine/linalg/randomized_range.h"

#include <cblas.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/engine/linalg/lapack.h"
#include "worker/engine/linalg/products.h"
#include "worker/engine/linalg/symmetric_eigen.h"

namespace lathe::engine {
namespace {

constexpr int64_t kBlocks = 5;        // q + 1, for a given rank
constexpr int64_t kEnergyBlock = 64;  // columns a block, for an energy
// Once the energy is met the range grows by half again: a larger range needs a smaller rank.
constexpr double kEnergyMargin = 0.5;
// A column whose part across the others is below this share of it carries only float32's rounding.
constexpr double kDependent = 1e-6;
// A column that deflation shrinks to this share of it had nothing new: float32's rounding in a
// product of thousands of terms is some 1e-6 of it.
constexpr double kRounding = 5e-6;

uint64_t Mix(uint64_t x) {
  x ^= x >> 30;
  x *= 0xbf58476d1ce4e5b9u;
  x ^= x >> 27;
  x *= 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

// Squared norms of the columns of y [rows, columns].
template <typename T>
std::vector<double> SquaredColumns(int64_t rows, int64_t columns, const std::vector<T>& y) {
  std::vector<double> squares(static_cast<size_t>(columns), 0.0);
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < columns; ++j) {
      const double value = y[static_cast<size_t>(i * columns + j)];
      squares[static_cast<size_t>(j)] += value * value;
    }
  }
  return squares;
}

// One pass of Cholesky QR.
absl::Status QrPass(int64_t rows, int64_t& columns, std::vector<float>& y, Parallel& parallel) {
  std::vector<double> d(y.begin(), y.end());
  // Unit columns: the Gram matrix's condition is then no worse than it need be.
  const std::vector<double> squares = SquaredColumns(rows, columns, d);
  std::vector<double> inverse(squares.size());
  for (size_t j = 0; j < squares.size(); ++j) {
    inverse[j] = squares[j] > 0 ? 1 / std::sqrt(squares[j]) : 0;
  }
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < columns; ++j) {
      d[static_cast<size_t>(i * columns + j)] *= inverse[static_cast<size_t>(j)];
    }
  }
  const std::vector<double> gram = Gram(false, rows, columns, d.data(), parallel);

  std::vector<double> factor = gram;
  bool independent = lapack::Cholesky(static_cast<int>(columns), factor.data()) == 0;
  for (int64_t j = 0; independent && j < columns; ++j) {
    independent = factor[static_cast<size_t>(j * columns + j)] > kDependent;
  }
  if (independent) {
    // Row-major upper triangle: gram = R^T R, Q = D R^-1, row by row, so in row blocks.
    constexpr int64_t kRows = 512;
    parallel.Run((rows + kRows - 1) / kRows, [&](int64_t block) {
      const int64_t first = block * kRows;
      cblas_dtrsm(CblasRowMajor, CblasRight, CblasUpper, CblasNoTrans, CblasNonUnit,
                  static_cast<int>(std::min(kRows, rows - first)), static_cast<int>(columns), 1.0,
                  factor.data(), static_cast<int>(columns), d.data() + first * columns,
                  static_cast<int>(columns));
    });
    y.assign(d.begin(), d.end());
    return absl::OkStatus();
  }
  // Dependent columns: the eigenvectors of the Gram matrix that stand out of rounding.
  ASSIGN_OR_RETURN(SymmetricEigen<double> eigen,
                   SymmetricEigen<double>::Make(columns, gram, parallel));
  const std::vector<double>& values = eigen.values();
  int64_t kept = 0;
  while (kept < columns &&
         values[static_cast<size_t>(kept)] > kDependent * kDependent * std::max(values[0], 1.0)) {
    ++kept;
  }
  ASSIGN_OR_RETURN(std::vector<double> vectors, eigen.Vectors(kept, parallel));
  for (int64_t i = 0; i < kept; ++i) {
    const double scale = 1 / std::sqrt(values[static_cast<size_t>(i)]);
    for (int64_t j = 0; j < columns; ++j) vectors[static_cast<size_t>(i * columns + j)] *= scale;
  }
  std::vector<double> q(static_cast<size_t>(rows * kept));
  Multiply(Side::kPlain, Side::kTransposed, rows, kept, columns, 1.0, d.data(), vectors.data(), 0.0,
           q.data(), parallel);
  y.assign(q.begin(), q.end());
  columns = kept;
  return absl::OkStatus();
}

// The range found so far: q [l, m] as rows, b = q a [l, n].
class Range {
 public:
  Range(const Matrix& matrix, uint64_t seed, Parallel& parallel)
      : matrix_(matrix), seed_(seed), parallel_(parallel) {}

  int64_t size() const { return size_; }
  // Squared norm of the projection of the matrix.
  double energy() const { return energy_; }

  // Adds a block of up to `columns` directions; fewer when the matrix has no more.
  absl::Status Grow(int64_t columns) {
    if (!z_.empty()) {
      ASSIGN_OR_RETURN(const int64_t count,
                       Orthonormalize(matrix_.n, z_columns_, z_, 1, parallel_));
      RETURN_IF_ERROR(Extend(std::min(count, columns), count));
      if (!z_.empty()) return absl::OkStatus();
      // The Krylov space is exhausted, as with a matrix whose singular values are all alike.
    }
    z_.resize(static_cast<size_t>(matrix_.n * columns));
    for (float& value : z_) value = BinomialNormal(seed_, drawn_++);
    return Extend(columns, columns);
  }

  // The best factors within the range. With an energy, the least rank that reaches it.
  absl::StatusOr<LowRankFactors> Factors(const LowRankRequest& request) {
    const int64_t l = size_;
    const std::vector<double> wide(b_.begin(), b_.end());
    ASSIGN_OR_RETURN(SymmetricEigen<double> eigen,
                     SymmetricEigen<double>::Make(
                         l, Gram(true, l, matrix_.n, wide.data(), parallel_), parallel_));
    const int64_t count = request.rank > 0 ? std::min(request.rank, l) : l;
    ASSIGN_OR_RETURN(std::vector<double> vectors, eigen.Vectors(count, parallel_));
    const std::vector<float> w(vectors.begin(), vectors.end());
    std::vector<float> basis(static_cast<size_t>(count * matrix_.m));
    Multiply(Side::kPlain, Side::kPlain, count, matrix_.m, l, 1.0f, w.data(), q_.data(), 0.0f,
             basis.data(), parallel_);
    std::vector<float> other(static_cast<size_t>(count * matrix_.n));
    Multiply(Side::kPlain, Side::kPlain, count, matrix_.n, l, 1.0f, w.data(), b_.data(), 0.0f,
             other.data(), parallel_);
    return FactorsOf(matrix_, true, std::move(basis), std::move(other), count, request.energy,
                     parallel_);
  }

 private:
  // Adds A z for the first `use` of the `columns` columns of z_, and sets z_ to A^T of what was
  // new: empty when nothing was.
  absl::Status Extend(int64_t use, int64_t columns) {
    const int64_t m = matrix_.m;
    const int64_t n = matrix_.n;
    if (use < columns) {
      std::vector<float> fewer(static_cast<size_t>(n * use));
      for (int64_t i = 0; i < n; ++i) {
        std::copy_n(z_.data() + i * columns, use, fewer.data() + i * use);
      }
      z_ = std::move(fewer);
    }
    int64_t count = use;
    std::vector<float> y(static_cast<size_t>(m * count));
    Multiply(Side::kPlain, Side::kPlain, m, count, n, 1.0f, matrix_.a, z_.data(), 0.0f, y.data(),
             parallel_);
    z_.clear();
    z_columns_ = 0;
    const std::vector<double> before = SquaredColumns(m, count, y);
    Deflate(count, y);
    DropRounding(count, before, y);
    ASSIGN_OR_RETURN(count, Orthonormalize(m, count, y, 1, parallel_));
    Deflate(count, y);
    ASSIGN_OR_RETURN(count, Orthonormalize(m, count, y, 1, parallel_));
    if (count == 0) return absl::OkStatus();

    const std::vector<float> rows = Transposed(m, count, y.data());
    q_.insert(q_.end(), rows.begin(), rows.end());
    z_.resize(static_cast<size_t>(n * count));
    z_columns_ = count;
    Multiply(Side::kTransposed, Side::kPlain, n, count, m, 1.0f, matrix_.a, y.data(), 0.0f,
             z_.data(), parallel_);
    const std::vector<float> b = Transposed(n, count, z_.data());
    b_.insert(b_.end(), b.begin(), b.end());
    energy_ += SquaredNorm(b.data(), count * n, parallel_);
    size_ += count;
    return absl::OkStatus();
  }

  // Takes the part within the range out of y [m, count].
  void Deflate(int64_t count, std::vector<float>& y) {
    if (size_ == 0) return;
    const int64_t m = matrix_.m;
    std::vector<float> inside(static_cast<size_t>(size_ * count));
    Multiply(Side::kPlain, Side::kPlain, size_, count, m, 1.0f, q_.data(), y.data(), 0.0f,
             inside.data(), parallel_);
    Multiply(Side::kTransposed, Side::kPlain, m, count, size_, -1.0f, q_.data(), inside.data(),
             1.0f, y.data(), parallel_);
  }

  // Zeroes the columns of y of which deflation left only rounding: they would point anywhere, also
  // back into the range.
  void DropRounding(int64_t count, const std::vector<double>& before, std::vector<float>& y) const {
    if (size_ == 0) return;
    const std::vector<double> after = SquaredColumns(matrix_.m, count, y);
    for (int64_t j = 0; j < count; ++j) {
      const size_t column = static_cast<size_t>(j);
      if (after[column] > kRounding * kRounding * before[column]) continue;
      for (int64_t i = 0; i < matrix_.m; ++i) y[static_cast<size_t>(i * count + j)] = 0;
    }
  }

  const Matrix& matrix_;
  const uint64_t seed_;
  Parallel& parallel_;
  uint64_t drawn_ = 0;
  int64_t size_ = 0;
  double energy_ = 0;
  std::vector<float> q_;
  std::vector<float> b_;
  std::vector<float> z_;  // [n, z_columns_]: A^T of the newest block
  int64_t z_columns_ = 0;
};

}  // namespace

float BinomialNormal(uint64_t seed, uint64_t index) {
  const uint64_t bits = Mix(Mix(seed + 0x9e3779b97f4a7c15u) + index * 0x9e3779b97f4a7c15u);
  return static_cast<float>(std::popcount(bits) - 32) / 4;
}

absl::StatusOr<int64_t> Orthonormalize(int64_t rows, int64_t columns, std::vector<float>& y,
                                       int passes, Parallel& parallel) {
  for (int pass = 0; pass < passes && columns > 0; ++pass) {
    RETURN_IF_ERROR(QrPass(rows, columns, y, parallel));
  }
  return columns;
}

absl::StatusOr<LowRankFactors> RandomizedFactors(const Matrix& matrix,
                                                 const LowRankRequest& request,
                                                 Parallel& parallel) {
  const int64_t k = std::min(matrix.m, matrix.n);
  Range range(matrix, request.seed, parallel);
  const auto grow_to = [&](int64_t size, int64_t block, double energy) -> absl::Status {
    while (range.size() < size && range.energy() < energy) {
      const int64_t before = range.size();
      RETURN_IF_ERROR(range.Grow(std::min(block, size - before)));
      if (range.size() == before) break;  // the matrix has no more directions
    }
    return absl::OkStatus();
  };
  if (request.rank > 0) {
    const int64_t block = request.rank / 2 + 8;
    RETURN_IF_ERROR(grow_to(std::min(k, kBlocks * block), block, matrix.squared_norm));
  } else {
    const double wanted = request.energy * matrix.squared_norm * (1 - kEnergySlack);
    // Twice the useful rank: what is not met then is not met by a rank worth having.
    const int64_t limit = request.max_rank > 0 ? std::min(k, 2 * request.max_rank + 16) : k;
    RETURN_IF_ERROR(grow_to(limit, kEnergyBlock, wanted));
    if (range.energy() >= wanted) {
      const double more = static_cast<double>(range.size()) * (1 + kEnergyMargin);
      RETURN_IF_ERROR(
          grow_to(std::min(k, static_cast<int64_t>(more)), kEnergyBlock, matrix.squared_norm));
    }
  }
  LowRankFactors factors;
  if (range.size() > 0) {
    ASSIGN_OR_RETURN(factors, range.Factors(request));
    if (!factors.complete && range.size() >= k) {
      // All there is: what is missing is rounding.
      LowRankRequest all = request;
      all.energy = 0;
      all.rank = range.size();
      ASSIGN_OR_RETURN(factors, range.Factors(all));
    }
  } else {
    factors.complete = false;
  }
  const bool too_large = request.max_rank > 0 && factors.rank > request.max_rank;
  if (!factors.complete || too_large) {
    LowRankFactors refused;
    refused.rank =
        too_large && factors.complete ? factors.rank : std::max(request.max_rank, factors.rank) + 1;
    refused.complete = false;
    return refused;
  }
  factors.algorithm = "randomized";
  return factors;
}

}  // namespace lathe::engine
