// Statistics and affine maps of channels: of values [batch, channels, plane], plain or blocked.
#ifndef LATHE_WORKER_ENGINE_KERNELS_CHANNEL_PLANES_H_
#define LATHE_WORKER_ENGINE_KERNELS_CHANNEL_PLANES_H_

#include <cstdint>
#include <span>

#include "worker/engine/kernels/row_grads.h"
#include "worker/engine/tensor/tensor.h"
#include "worker/engine/tensor/value.h"

namespace lathe::engine {

struct ChannelPlanes {
  int64_t batch = 0;
  int64_t channels = 0;
  int64_t plane = 1;
  int64_t block = 1;  // of the layout

  // Of two axes or more.
  static ChannelPlanes Of(const Shape& dims, Layout layout);
};

// The mean of each channel's first plane: a number near the channel's values, for sums around it.
// centers: [channels].
void FirstPlaneMeans(const ChannelPlanes& p, const float* x, std::span<float> centers);

// Adds the sums of every channel around its center, over batch and plane, to sums [channels]. `g`
// may be nullptr: then those of g and g d are not to be read.
void AddChannelSums(const ChannelPlanes& p, std::span<const float> centers, const float* x,
                    const float* g, std::span<CenteredSums> sums);

// y := x scale + shift, by channel. y may be x.
void ScaleShiftChannels(const ChannelPlanes& p, std::span<const float> scale,
                        std::span<const float> shift, const float* x, float* y);

// dx := a g + b (x - center) + c, by channel. dx may be g.
struct ChannelLine {
  float a = 0;
  float b = 0;
  float center = 0;
  float c = 0;
};
void CombineChannels(const ChannelPlanes& p, std::span<const ChannelLine> lines, const float* g,
                     const float* x, float* dx);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_KERNELS_CHANNEL_PLANES_H_
