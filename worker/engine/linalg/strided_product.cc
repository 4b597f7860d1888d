#include "worker/engine/linalg/strided_product.h"

#include <cblas.h>

#include <algorithm>

#include "worker/engine/linalg/lapack.h"

namespace lathe::engine {

void MultiplyStrided(Side b_side, int64_t m, int64_t n, int64_t k, float alpha, const MatrixView& a,
                     const MatrixView& b, float* c, int64_t c_stride) {
  if (m <= 0 || n <= 0) return;
  if (k <= 0) {
    for (int64_t i = 0; i < m; ++i) std::fill_n(c + i * c_stride, n, 0.0F);
    return;
  }
  lapack::UseOneBlasThread();
  const auto lead = [](int64_t stride) { return static_cast<int>(std::max<int64_t>(stride, 1)); };
  cblas_sgemm(CblasRowMajor, CblasNoTrans, b_side == Side::kPlain ? CblasNoTrans : CblasTrans,
              static_cast<int>(m), static_cast<int>(n), static_cast<int>(k), alpha, a.data,
              lead(a.stride), b.data, lead(b.stride), 0.0F, c, lead(c_stride));
}

void AddProductStrided(int64_t m, int64_t n, int64_t k, float alpha, const MatrixView& a,
                       const MatrixView& b, float* c, int64_t c_stride) {
  if (m <= 0 || n <= 0 || k <= 0) return;
  lapack::UseOneBlasThread();
  cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, static_cast<int>(m), static_cast<int>(n),
              static_cast<int>(k), alpha, a.data, static_cast<int>(a.stride), b.data,
              static_cast<int>(b.stride), 1.0F, c, static_cast<int>(c_stride));
}

}  // namespace lathe::engine
