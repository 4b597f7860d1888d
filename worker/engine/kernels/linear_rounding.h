// Between reals and small integers, run after run: arithmetic only.
//
//   quantize     q = clamp(round(x / s) + z, lo, hi)
//   requantize   q = clamp(round(a m) + z, lo, hi), a an int32 sum
//   dequantize   x = (q - z) s
//
// Rounding is to nearest, ties to even; one float32 operation a step, so that results are the same
// on every processor (and those of ONNX Runtime). NaN becomes lo. T is int8_t, uint8_t, int16_t or
// uint16_t; z and lo <= hi are values of T, given as floats.
#ifndef LATHE_WORKER_ENGINE_KERNELS_LINEAR_ROUNDING_H_
#define LATHE_WORKER_ENGINE_KERNELS_LINEAR_ROUNDING_H_

#include <cstdint>
#include <limits>

namespace lathe::engine {

struct IntegerRange {
  float lo = 0;
  float hi = 0;
};
template <typename T>
constexpr IntegerRange RangeOf() {
  return {static_cast<float>(std::numeric_limits<T>::lowest()),
          static_cast<float>(std::numeric_limits<T>::max())};
}

// One scale and zero point for all `count` elements.
template <typename T>
void QuantizeRun(const float* x, int64_t count, float scale, float zero, IntegerRange range,
                 T* out);
template <typename T>
void RequantizeRun(const int32_t* sums, int64_t count, float multiplier, float zero,
                   IntegerRange range, T* out);
template <typename T>
void DequantizeRun(const T* q, int64_t count, float scale, float zero, float* out);

// A scale and a zero point for each element.
template <typename T>
void QuantizeEach(const float* x, int64_t count, const float* scales, const float* zeros,
                  IntegerRange range, T* out);
template <typename T>
void RequantizeEach(const int32_t* sums, int64_t count, const float* multipliers, float zero,
                    IntegerRange range, T* out);
template <typename T>
void DequantizeEach(const T* q, int64_t count, const float* scales, const float* zeros, float* out);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_KERNELS_LINEAR_ROUNDING_H_
