// Vector kernels over one plane of a blocked layout, [pixels, block]: a block of channels, each
// with numbers of its own. block is 8 or 16. Sums are kept channel by channel in one order, so that
// they do not depend on the instruction set but for fused multiply-adds.
#ifndef LATHE_WORKER_ENGINE_KERNELS_CHANNEL_BLOCKS_H_
#define LATHE_WORKER_ENGINE_KERNELS_CHANNEL_BLOCKS_H_

#include <cstdint>

namespace lathe::engine {

inline constexpr int64_t kMaxBlock = 16;

// Of each channel, over pixels: sums of d = x - center, d^2, the gradient g, and g d.
struct BlockSums {
  double d[kMaxBlock] = {};
  double squares[kMaxBlock] = {};
  double g[kMaxBlock] = {};
  double products[kMaxBlock] = {};
};
// Adds those of a plane to `sums`. center: [block]. `g` may be nullptr.
void AddBlockSums(int64_t block, int64_t pixels, const float* center, const float* x,
                  const float* g, BlockSums& sums);

// y := x scale + shift; both [block]. y may be x.
void ScaleShiftBlock(int64_t block, int64_t pixels, const float* scale, const float* shift,
                     const float* x, float* y);

// dx := a g + b (x - center) + c; all four [block]. dx may be g.
struct BlockLine {
  float a[kMaxBlock] = {};
  float b[kMaxBlock] = {};
  float center[kMaxBlock] = {};
  float c[kMaxBlock] = {};
};
void CombineBlock(int64_t block, int64_t pixels, const BlockLine& line, const float* g,
                  const float* x, float* dx);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_KERNELS_CHANNEL_BLOCKS_H_
