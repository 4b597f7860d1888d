// The blocked reduction of Dongarra, Hammarling and Sorensen, "Block reduction of matrices to
// condensed forms" (1989), as LAPACK's sytrd does it (lower triangle):
//
//   per column i of a panel:  a_i -= V w_i^T + W v_i^T;  H_i = I - tau v v^T makes a_i tridiagonal;
//                             w = tau (A v - V (W^T v) - W (V^T v)),  w -= tau/2 (w . v) v
//   per panel:                A -= V W^T + W V^T
//
// Half of the work is A v, which reads all of what is left of A for every column: memory's speed
// bounds it, and one core does not reach memory's speed. So that product and the panel's update run
// on the engine's threads. What is left at the end goes to LAPACK.
#include "worker/engine/linalg/tridiagonalize.h"

#include <cblas.h>

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "worker/engine/linalg/lapack.h"
#include "worker/engine/linalg/symmetric_product.h"

namespace lathe::engine {
namespace {

constexpr int kPanel = 64;
// Below this the matrix fits a core's cache, and LAPACK is as fast.
constexpr int kRest = 512;
constexpr int kTile = 512;
constexpr float kNothing = 1e-30f;

// Turns x [n] into beta e_1 by I - tau v v^T, v[0] = 1; v replaces x. Returns {beta, tau}.
std::pair<float, float> Householder(int n, float* x) {
  const float alpha = x[0];
  const float norm = n > 1 ? cblas_snrm2(n - 1, x + 1, 1) : 0.0f;
  x[0] = 1;
  if (norm < kNothing) {
    std::fill_n(x + 1, n - 1, 0.0f);
    return {alpha, 0.0f};
  }
  const float beta = -std::copysign(std::hypot(alpha, norm), alpha);
  cblas_sscal(n - 1, 1 / (alpha - beta), x + 1, 1);
  return {beta, (beta - alpha) / beta};
}

// y += alpha op(a) x, a [rows, columns] column-major.
void AddProduct(CBLAS_TRANSPOSE op, int rows, int columns, float alpha, const float* a, int lda,
                const float* x, int stride, float* y) {
  if (rows == 0 || columns == 0) return;
  cblas_sgemv(CblasColMajor, op, rows, columns, alpha, a, lda, x, stride, 1.0f, y, 1);
}

// a [n, n] -= v w^T + w v^T, lower triangle, by tiles. v, w: [n, kPanel].
void UpdateTrailing(int n, const float* v, int ldv, const float* w, int ldw, float* a, int lda,
                    Parallel& parallel) {
  std::vector<std::pair<int, int>> tiles;
  for (int column = 0; column < n; column += kTile) {
    for (int row = column; row < n; row += kTile) tiles.emplace_back(row, column);
  }
  parallel.Run(static_cast<int64_t>(tiles.size()), [&](int64_t t) {
    const int row = tiles[static_cast<size_t>(t)].first;
    const int column = tiles[static_cast<size_t>(t)].second;
    const int height = std::min(kTile, n - row);
    const int width = std::min(kTile, n - column);
    float* out = a + static_cast<int64_t>(column) * lda + row;
    if (row == column) {
      cblas_ssyr2k(CblasColMajor, CblasLower, CblasNoTrans, width, kPanel, -1.0f, v + row, ldv,
                   w + row, ldw, 1.0f, out, lda);
      return;
    }
    cblas_sgemm(CblasColMajor, CblasNoTrans, CblasTrans, height, width, kPanel, -1.0f, v + row, ldv,
                w + column, ldw, 1.0f, out, lda);
    cblas_sgemm(CblasColMajor, CblasNoTrans, CblasTrans, height, width, kPanel, -1.0f, w + row, ldw,
                v + column, ldv, 1.0f, out, lda);
  });
}

}  // namespace

int Tridiagonalize(int n, float* a, float* d, float* e, float* tau, Parallel& parallel) {
  const int lda = n;
  int done = 0;
  std::vector<float> w(static_cast<size_t>(n) * kPanel);
  std::vector<float> scratch;
  float inner[kPanel];
  for (; n - done > kRest; done += kPanel) {
    const int m = n - done;
    float* sub = a + static_cast<int64_t>(done) * lda + done;
    for (int i = 0; i < kPanel; ++i) {
      float* column = sub + static_cast<int64_t>(i) * lda;
      AddProduct(CblasNoTrans, m - i, i, -1.0f, sub + i, lda, w.data() + i, n, column + i);
      AddProduct(CblasNoTrans, m - i, i, -1.0f, w.data() + i, n, sub + i, lda, column + i);
      d[done + i] = column[i];
      const int rest = m - i - 1;
      float* v = column + i + 1;
      const auto [beta, scale] = Householder(rest, v);
      e[done + i] = beta;
      tau[done + i] = scale;

      float* product = w.data() + static_cast<int64_t>(i) * n + i + 1;
      SymmetricProduct(rest, sub + static_cast<int64_t>(i + 1) * lda + i + 1, lda, v, product,
                       scratch, parallel);
      const float* panel_v = sub + i + 1;
      const float* panel_w = w.data() + i + 1;
      std::fill_n(inner, i, 0.0f);
      AddProduct(CblasTrans, rest, i, 1.0f, panel_w, n, v, 1, inner);
      AddProduct(CblasNoTrans, rest, i, -1.0f, panel_v, lda, inner, 1, product);
      std::fill_n(inner, i, 0.0f);
      AddProduct(CblasTrans, rest, i, 1.0f, panel_v, lda, v, 1, inner);
      AddProduct(CblasNoTrans, rest, i, -1.0f, panel_w, n, inner, 1, product);
      cblas_sscal(rest, scale, product, 1);
      const float half = -0.5f * scale * cblas_sdot(rest, product, 1, v, 1);
      cblas_saxpy(rest, half, v, 1, product, 1);
    }
    UpdateTrailing(m - kPanel, sub + kPanel, lda, w.data() + kPanel, n,
                   sub + static_cast<int64_t>(kPanel) * lda + kPanel, lda, parallel);
    // The reflectors' leading ones make way for the off-diagonal, as LAPACK leaves it.
    for (int i = 0; i < kPanel; ++i) sub[static_cast<int64_t>(i) * lda + i + 1] = e[done + i];
  }
  return lapack::Tridiagonalize(n - done, a + static_cast<int64_t>(done) * lda + done, lda,
                                d + done, e + done, tau + done);
}

int Tridiagonalize(int n, double* a, double* d, double* e, double* tau, Parallel&) {
  return lapack::Tridiagonalize(n, a, n, d, e, tau);
}

}  // namespace lathe::engine
