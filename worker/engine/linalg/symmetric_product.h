// y = A x for a symmetric matrix, each element of A read once.
#ifndef LATHE_WORKER_ENGINE_LINALG_SYMMETRIC_PRODUCT_H_
#define LATHE_WORKER_ENGINE_LINALG_SYMMETRIC_PRODUCT_H_

#include <cstdint>
#include <vector>

#include "worker/engine/tensor/parallel.h"

namespace lathe::engine {

// a: column-major, lower triangle, [n, n] with leading dimension lda; x, y: [n]. `scratch` is grown
// as needed and may be kept between calls. Memory-bound: n^2 / 2 elements. The sums are cut by
// columns, 256 a piece, so that they do not depend on the number of threads.
void SymmetricProduct(int64_t n, const float* a, int64_t lda, const float* x, float* y,
                      std::vector<float>& scratch, Parallel& parallel);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_LINALG_SYMMETRIC_PRODUCT_H_
