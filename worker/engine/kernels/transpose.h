// Transposition of a matrix of float32.
#ifndef LATHE_WORKER_ENGINE_KERNELS_TRANSPOSE_H_
#define LATHE_WORKER_ENGINE_KERNELS_TRANSPOSE_H_

#include <cstdint>

namespace lathe::engine {

// to[c * to_stride + r] := from[r * from_stride + c], r < rows, c < columns. They must not overlap.
void TransposeFloats(int64_t rows, int64_t columns, const float* from, int64_t from_stride,
                     float* to, int64_t to_stride);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_KERNELS_TRANSPOSE_H_
