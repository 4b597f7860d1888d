// Floats of 8 and of 4 bits, from float32.
#ifndef LATHE_WORKER_ENGINE_KERNELS_SMALL_FLOAT_H_
#define LATHE_WORKER_ENGINE_KERNELS_SMALL_FLOAT_H_

#include <cstdint>

#include "worker/engine/tensor/dtype.h"

namespace lathe::engine {

// Whether `dtype` is one of float8e4m3fn, float8e4m3fnuz, float8e5m2, float8e5m2fnuz, float4e2m1.
bool IsSmallFloat(DType dtype);

// The code of `value`, rounded to nearest, ties to even. Past the largest number: that number when
// `saturate`, else infinity where the type has one and NaN where it does not. float4e2m1 always
// saturates, and makes NaN its largest number. 0 for other types.
uint8_t FloatToSmall(float value, DType dtype, bool saturate);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_KERNELS_SMALL_FLOAT_H_
