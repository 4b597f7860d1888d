// Halko, Martinsson, Tropp, "Finding structure with randomness", 0909.4061, algorithms 4.4 and 5.1:
//
//   Y = (A A^T)^q A Omega,  Q = orth(Y),  B = Q^T A = W S V^T,  U = Q W,
//
// q = 2, Omega [n, l] random, l = r + max(10, r / 10), orthonormalized after every product. For an
// energy, Q grows block by block, each made orthogonal to those before (Martinsson, Voronin,
// 1503.07157), until norm(A)^2 - norm(Q^T A)^2 meets the bound: Q Q^T A is a projection, so that
// difference is exactly its squared error. Orthonormalization is Cholesky QR, twice at the end of a
// block (Yamamoto et al., 2015); we take its Gram matrix in float64.
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

constexpr int kPowerIterations = 2;
constexpr int64_t kFirstBlock = 64;
// A column whose part across the others is below this share of it carries only float32's rounding.
constexpr double kDependent = 1e-6;

int64_t Oversampling(int64_t rank) { return std::max<int64_t>(10, rank / 10); }

uint64_t Mix(uint64_t x) {
  x ^= x >> 30;
  x *= 0xbf58476d1ce4e5b9u;
  x ^= x >> 27;
  x *= 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

// One pass over unit columns; `independent` says whether Cholesky found them so.
absl::Status QrPass(int64_t rows, int64_t& columns, std::vector<float>& y, Parallel& parallel) {
  std::vector<double> d(y.begin(), y.end());
  // Unit columns: the Gram matrix's condition is then no worse than it need be.
  std::vector<double> squares(static_cast<size_t>(columns), 0.0);
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < columns; ++j) {
      const double value = d[static_cast<size_t>(i * columns + j)];
      squares[static_cast<size_t>(j)] += value * value;
    }
  }
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
  ASSIGN_OR_RETURN(SymmetricEigen<double> eigen, SymmetricEigen<double>::Make(columns, gram));
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

  // Adds up to `columns` directions; fewer when the matrix has no more.
  absl::Status Grow(int64_t columns) {
    const int64_t m = matrix_.m;
    const int64_t n = matrix_.n;
    int64_t count = columns;
    std::vector<float> y(static_cast<size_t>(m * count));
    std::vector<float> z(static_cast<size_t>(n * count));
    for (float& value : z) value = BinomialNormal(seed_, drawn_++);
    for (int iteration = 0; iteration <= kPowerIterations; ++iteration) {
      if (iteration > 0) {
        z.resize(static_cast<size_t>(n * count));
        Multiply(Side::kTransposed, Side::kPlain, n, count, m, 1.0f, matrix_.a, y.data(), 0.0f,
                 z.data(), parallel_);
        ASSIGN_OR_RETURN(count, Orthonormalize(n, count, z, 1, parallel_));
      }
      y.resize(static_cast<size_t>(m * count));
      Multiply(Side::kPlain, Side::kPlain, m, count, n, 1.0f, matrix_.a, z.data(), 0.0f, y.data(),
               parallel_);
      Deflate(count, y);
      ASSIGN_OR_RETURN(count, Orthonormalize(m, count, y, 1, parallel_));
      if (count == 0) return absl::OkStatus();
    }
    Deflate(count, y);
    ASSIGN_OR_RETURN(count, Orthonormalize(m, count, y, 2, parallel_));
    Append(count, y);
    return absl::OkStatus();
  }

  // The best factors within the range. With an energy, the least rank that reaches it.
  absl::StatusOr<LowRankFactors> Factors(const LowRankRequest& request) {
    const int64_t l = size_;
    const std::vector<double> wide(b_.begin(), b_.end());
    ASSIGN_OR_RETURN(
        SymmetricEigen<double> eigen,
        SymmetricEigen<double>::Make(l, Gram(true, l, matrix_.n, wide.data(), parallel_)));
    const int64_t count = request.rank > 0 ? std::min(request.rank, l) : l;
    ASSIGN_OR_RETURN(std::vector<double> vectors, eigen.Vectors(count, parallel_));
    const std::vector<float> w(vectors.begin(), vectors.end());
    std::vector<float> basis(static_cast<size_t>(count * matrix_.m));
    Multiply(Side::kPlain, Side::kPlain, count, matrix_.m, l, 1.0f, w.data(), q_.data(), 0.0f,
             basis.data(), parallel_);
    return Project(matrix_, true, std::move(basis), count, request.energy, parallel_);
  }

 private:
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

  void Append(int64_t count, const std::vector<float>& y) {
    const std::vector<float> rows = Transposed(matrix_.m, count, y.data());
    q_.insert(q_.end(), rows.begin(), rows.end());
    const size_t old = b_.size();
    b_.resize(old + static_cast<size_t>(count * matrix_.n));
    Multiply(Side::kPlain, Side::kPlain, count, matrix_.n, matrix_.m, 1.0f, rows.data(), matrix_.a,
             0.0f, b_.data() + old, parallel_);
    energy_ += SquaredNorm(b_.data() + old, count * matrix_.n, parallel_);
    size_ += count;
  }

  const Matrix& matrix_;
  const uint64_t seed_;
  Parallel& parallel_;
  uint64_t drawn_ = 0;
  int64_t size_ = 0;
  double energy_ = 0;
  std::vector<float> q_;
  std::vector<float> b_;
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
  if (request.rank > 0) {
    RETURN_IF_ERROR(range.Grow(std::min(k, request.rank + Oversampling(request.rank))));
  } else {
    const int64_t useful = request.max_rank > 0 ? std::min(k, request.max_rank) : k;
    const int64_t limit = std::min(k, useful + Oversampling(useful));
    const double wanted = request.energy * matrix.squared_norm * (1 - kEnergySlack);
    while (range.energy() < wanted && range.size() < limit) {
      const int64_t before = range.size();
      const int64_t block = std::max(kFirstBlock, range.size() / 2);
      RETURN_IF_ERROR(range.Grow(std::min(block, limit - range.size())));
      if (range.size() == before) break;  // the matrix has no more directions
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
