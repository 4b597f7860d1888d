// Scale and zero point of activations, found when the model runs.
#ifndef LATHE_WORKER_ENGINE_KERNELS_DYNAMIC_RANGE_H_
#define LATHE_WORKER_ENGINE_KERNELS_DYNAMIC_RANGE_H_

#include <cstdint>

namespace lathe::engine {

struct DynamicRange {
  float scale = 1;
  uint8_t zero_point = 0;
};

// As ONNX's DynamicQuantizeLinear: over the range of x and 0, [lo, hi],
//   scale = (hi - lo) / 255, zero_point = clamp(round(-lo / scale), 0, 255).
// When all are 0 the scale is 1, as ONNX Runtime has it. NaNs are left out.
DynamicRange FindDynamicRange(const float* x, int64_t count);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_KERNELS_DYNAMIC_RANGE_H_
