#include "worker/engine/linalg/products.h"

#include <cblas.h>

#include <algorithm>
#include <utility>

namespace lathe::engine {
namespace {

constexpr int64_t kTile = 512;
constexpr int64_t kPieceElements = int64_t{256} << 10;

int64_t Tiles(int64_t extent) { return (extent + kTile - 1) / kTile; }

int Int(int64_t extent) { return static_cast<int>(extent); }

CBLAS_TRANSPOSE Op(Side side) { return side == Side::kPlain ? CblasNoTrans : CblasTrans; }

void Gemm(Side ta, Side tb, int64_t m, int64_t n, int64_t k, float alpha, const float* a,
          int64_t lda, const float* b, int64_t ldb, float beta, float* c, int64_t ldc) {
  cblas_sgemm(CblasRowMajor, Op(ta), Op(tb), Int(m), Int(n), Int(k), alpha, a, Int(lda), b,
              Int(ldb), beta, c, Int(ldc));
}
void Gemm(Side ta, Side tb, int64_t m, int64_t n, int64_t k, double alpha, const double* a,
          int64_t lda, const double* b, int64_t ldb, double beta, double* c, int64_t ldc) {
  cblas_dgemm(CblasRowMajor, Op(ta), Op(tb), Int(m), Int(n), Int(k), alpha, a, Int(lda), b,
              Int(ldb), beta, c, Int(ldc));
}
void Syrk(Side side, int64_t n, int64_t k, const float* a, int64_t lda, float* c, int64_t ldc) {
  cblas_ssyrk(CblasRowMajor, CblasUpper, Op(side), Int(n), Int(k), 1.0f, a, Int(lda), 0.0f, c,
              Int(ldc));
}
void Syrk(Side side, int64_t n, int64_t k, const double* a, int64_t lda, double* c, int64_t ldc) {
  cblas_dsyrk(CblasRowMajor, CblasUpper, Op(side), Int(n), Int(k), 1.0, a, Int(lda), 0.0, c,
              Int(ldc));
}

// Where row (or column) `index` of op(a) starts.
template <typename T>
const T* RowOf(Side side, const T* a, int64_t ld, int64_t index) {
  return side == Side::kPlain ? a + index * ld : a + index;
}
template <typename T>
const T* ColumnOf(Side side, const T* b, int64_t ld, int64_t index) {
  return side == Side::kPlain ? b + index : b + index * ld;
}

}  // namespace

template <typename T>
void Multiply(Side a_side, Side b_side, int64_t m, int64_t n, int64_t k, T alpha, const T* a,
              const T* b, T beta, T* c, Parallel& parallel) {
  if (m == 0 || n == 0) return;
  const int64_t lda = std::max<int64_t>(1, a_side == Side::kPlain ? k : m);
  const int64_t ldb = std::max<int64_t>(1, b_side == Side::kPlain ? n : k);
  const int64_t across = Tiles(n);
  parallel.Run(Tiles(m) * across, [&](int64_t tile) {
    const int64_t row = tile / across * kTile;
    const int64_t column = tile % across * kTile;
    Gemm(a_side, b_side, std::min(kTile, m - row), std::min(kTile, n - column), k, alpha,
         RowOf(a_side, a, lda, row), lda, ColumnOf(b_side, b, ldb, column), ldb, beta,
         c + row * n + column, n);
  });
}
template void Multiply<float>(Side, Side, int64_t, int64_t, int64_t, float, const float*,
                              const float*, float, float*, Parallel&);
template void Multiply<double>(Side, Side, int64_t, int64_t, int64_t, double, const double*,
                               const double*, double, double*, Parallel&);

template <typename T>
std::vector<T> Gram(bool rows, int64_t m, int64_t n, const T* a, Parallel& parallel) {
  const int64_t side = rows ? m : n;
  const int64_t depth = rows ? n : m;
  const Side left = rows ? Side::kPlain : Side::kTransposed;
  const Side right = rows ? Side::kTransposed : Side::kPlain;
  std::vector<T> gram(static_cast<size_t>(side * side));
  std::vector<std::pair<int64_t, int64_t>> tiles;
  for (int64_t i = 0; i < Tiles(side); ++i) {
    for (int64_t j = i; j < Tiles(side); ++j) tiles.emplace_back(i * kTile, j * kTile);
  }
  parallel.Run(static_cast<int64_t>(tiles.size()), [&](int64_t t) {
    const int64_t row = tiles[static_cast<size_t>(t)].first;
    const int64_t column = tiles[static_cast<size_t>(t)].second;
    T* out = gram.data() + row * side + column;
    const int64_t height = std::min(kTile, side - row);
    if (row == column) {
      Syrk(left, height, depth, RowOf(left, a, n, row), n, out, side);
      return;
    }
    Gemm(left, right, height, std::min(kTile, side - column), depth, T{1}, RowOf(left, a, n, row),
         n, ColumnOf(right, a, n, column), n, T{0}, out, side);
  });
  return gram;
}
template std::vector<float> Gram<float>(bool, int64_t, int64_t, const float*, Parallel&);
template std::vector<double> Gram<double>(bool, int64_t, int64_t, const double*, Parallel&);

void AddGram(int64_t rows, int64_t n, float alpha, const float* x, float beta, float* h,
             Parallel& parallel) {
  std::vector<std::pair<int64_t, int64_t>> tiles;
  for (int64_t i = 0; i < Tiles(n); ++i) {
    for (int64_t j = i; j < Tiles(n); ++j) tiles.emplace_back(i * kTile, j * kTile);
  }
  parallel.Run(static_cast<int64_t>(tiles.size()), [&](int64_t t) {
    const auto [row, column] = tiles[static_cast<size_t>(t)];
    float* out = h + row * n + column;
    const int64_t height = std::min(kTile, n - row);
    if (row == column) {
      cblas_ssyrk(CblasRowMajor, CblasUpper, CblasTrans, Int(height), Int(rows), alpha, x + row,
                  Int(n), beta, out, Int(n));
      return;
    }
    Gemm(Side::kTransposed, Side::kPlain, height, std::min(kTile, n - column), rows, alpha, x + row,
         n, x + column, n, beta, out, n);
  });
}

void MirrorUpper(int64_t n, float* h) {
  constexpr int64_t kBlock = 32;
  for (int64_t i0 = 0; i0 < n; i0 += kBlock) {
    for (int64_t j0 = i0; j0 < n; j0 += kBlock) {
      for (int64_t i = i0; i < std::min(n, i0 + kBlock); ++i) {
        for (int64_t j = std::max(i + 1, j0); j < std::min(n, j0 + kBlock); ++j) {
          h[j * n + i] = h[i * n + j];
        }
      }
    }
  }
}

double SquaredNorm(const float* values, int64_t count, Parallel& parallel) {
  const int64_t pieces = (count + kPieceElements - 1) / kPieceElements;
  std::vector<double> sums(static_cast<size_t>(pieces));
  parallel.Run(pieces, [&](int64_t p) {
    const int64_t end = std::min(count, (p + 1) * kPieceElements);
    double sum = 0;
    for (int64_t i = p * kPieceElements; i < end; ++i) {
      const double value = values[i];
      sum += value * value;
    }
    sums[static_cast<size_t>(p)] = sum;
  });
  double total = 0;
  for (const double sum : sums) total += sum;
  return total;
}

double SquaredResidual(int64_t m, int64_t n, int64_t r, const float* a, const float* u,
                       const float* vt, Parallel& parallel) {
  const int64_t across = Tiles(n);
  std::vector<double> sums(static_cast<size_t>(Tiles(m) * across));
  parallel.Run(static_cast<int64_t>(sums.size()), [&](int64_t tile) {
    const int64_t row = tile / across * kTile;
    const int64_t column = tile % across * kTile;
    const int64_t height = std::min(kTile, m - row);
    const int64_t width = std::min(kTile, n - column);
    std::vector<float> part(static_cast<size_t>(height * width));
    for (int64_t i = 0; i < height; ++i) {
      std::copy_n(a + (row + i) * n + column, width, part.data() + i * width);
    }
    if (r > 0) {
      Gemm(Side::kPlain, Side::kPlain, height, width, r, -1.0f, u + row * r, r, vt + column, n,
           1.0f, part.data(), width);
    }
    double sum = 0;
    for (const float value : part) sum += static_cast<double>(value) * static_cast<double>(value);
    sums[static_cast<size_t>(tile)] = sum;
  });
  double total = 0;
  for (const double sum : sums) total += sum;
  return total;
}

std::vector<float> Transposed(int64_t rows, int64_t columns, const float* a) {
  constexpr int64_t kBlock = 32;  // two blocks of floats fit the first cache
  std::vector<float> out(static_cast<size_t>(rows * columns));
  for (int64_t r = 0; r < rows; r += kBlock) {
    for (int64_t c = 0; c < columns; c += kBlock) {
      for (int64_t i = r; i < std::min(rows, r + kBlock); ++i) {
        for (int64_t j = c; j < std::min(columns, c + kBlock); ++j) {
          out[static_cast<size_t>(j * rows + i)] = a[i * columns + j];
        }
      }
    }
  }
  return out;
}

}  // namespace lathe::engine
