// Matrix products whose operands are parts of larger arrays.
#ifndef LATHE_WORKER_ENGINE_LINALG_STRIDED_PRODUCT_H_
#define LATHE_WORKER_ENGINE_LINALG_STRIDED_PRODUCT_H_

#include <cstdint>

#include "worker/engine/linalg/products.h"

namespace lathe::engine {

// A row-major matrix: row i starts at data + i * stride.
struct MatrixView {
  const float* data = nullptr;
  int64_t stride = 0;
};

// c [m, n] (rows `c_stride` apart) := alpha a op(b), with a [m, k] and b [k, n] (kTransposed:
// [n, k]). Extents and strides below 2^31. On the calling thread.
void MultiplyStrided(Side b_side, int64_t m, int64_t n, int64_t k, float alpha, const MatrixView& a,
                     const MatrixView& b, float* c, int64_t c_stride);

// c [m, n] := c + alpha a b, likewise.
void AddProductStrided(int64_t m, int64_t n, int64_t k, float alpha, const MatrixView& a,
                       const MatrixView& b, float* c, int64_t c_stride);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_LINALG_STRIDED_PRODUCT_H_
