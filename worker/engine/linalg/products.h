// Matrix products and sums, row-major, cut into fixed tiles so that results do not depend on the
// number of threads. One BLAS call a tile.
#ifndef LATHE_WORKER_ENGINE_LINALG_PRODUCTS_H_
#define LATHE_WORKER_ENGINE_LINALG_PRODUCTS_H_

#include <cstdint>
#include <vector>

#include "worker/engine/tensor/parallel.h"

namespace lathe::engine {

enum class Side { kPlain, kTransposed };

// c [m, n] := alpha op(a) op(b) + beta c. `a` is [m, k] (kTransposed: [k, m]), `b` is [k, n]
// (kTransposed: [n, k]), all dense.
template <typename T>
void Multiply(Side a_side, Side b_side, int64_t m, int64_t n, int64_t k, T alpha, const T* a,
              const T* b, T beta, T* c, Parallel& parallel);

// The Gram matrix of the rows (`rows`: a a^T, [m, m]) or columns (a^T a, [n, n]) of a [m, n]. Only
// the upper triangle (row-major; LAPACK's lower) is meaningful.
template <typename T>
std::vector<T> Gram(bool rows, int64_t m, int64_t n, const T* a, Parallel& parallel);

// The upper triangle of h [n, n] := beta h + alpha x^T x, for x [rows, n] dense. Other elements of
// h are not touched.
void AddGram(int64_t rows, int64_t n, float alpha, const float* x, float beta, float* h,
             Parallel& parallel);
// Copies the upper triangle of h [n, n] to the lower one.
void MirrorUpper(int64_t n, float* h);

// Sum of squares, in double.
double SquaredNorm(const float* values, int64_t count, Parallel& parallel);

// Squared norm of a - u vt, for a [m, n], u [m, r], vt [r, n]; r may be 0.
double SquaredResidual(int64_t m, int64_t n, int64_t r, const float* a, const float* u,
                       const float* vt, Parallel& parallel);

// [rows, columns] -> [columns, rows].
std::vector<float> Transposed(int64_t rows, int64_t columns, const float* a);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_LINALG_PRODUCTS_H_
