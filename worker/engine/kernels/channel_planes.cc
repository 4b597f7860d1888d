#include "worker/engine/kernels/channel_planes.h"

#include <algorithm>
#include <vector>

#include "worker/engine/kernels/channel_blocks.h"
#include "worker/engine/kernels/row_kernels.h"

namespace lathe::engine {
namespace {

int64_t BlockCount(const ChannelPlanes& p) { return (p.channels + p.block - 1) / p.block; }

// Calls fn(first channel, channels that are there, first element) for each block of each example.
template <typename Fn>
void ForEachBlock(const ChannelPlanes& p, Fn&& fn) {
  int64_t at = 0;
  for (int64_t n = 0; n < p.batch; ++n) {
    for (int64_t c = 0; c < p.channels; c += p.block, at += p.plane * p.block) {
      fn(c, std::min(p.block, p.channels - c), at);
    }
  }
}

// A plane of one element: no vector kernel is worth its call.
void AddOne(float center, float x, const float* g, CenteredSums& sums) {
  const double d = static_cast<double>(x) - static_cast<double>(center);
  sums.d += d;
  sums.squares += d * d;
  if (g == nullptr) return;
  sums.g += static_cast<double>(*g);
  sums.products += static_cast<double>(*g) * d;
}

}  // namespace

ChannelPlanes ChannelPlanes::Of(const Shape& dims, Layout layout) {
  ChannelPlanes p;
  p.batch = dims[0];
  p.channels = dims[1];
  for (size_t i = 2; i < dims.size(); ++i) p.plane *= dims[i];
  p.block = LayoutBlock(layout);
  return p;
}

void FirstPlaneMeans(const ChannelPlanes& p, const float* x, std::span<float> centers) {
  for (int64_t c = 0; c < p.channels; ++c) {
    const float* from = x + c / p.block * p.plane * p.block + c % p.block;
    double sum = 0;
    for (int64_t i = 0; i < p.plane; ++i) sum += static_cast<double>(from[i * p.block]);
    centers[static_cast<size_t>(c)] =
        p.plane == 0 ? 0.0F : static_cast<float>(sum / static_cast<double>(p.plane));
  }
}

void AddChannelSums(const ChannelPlanes& p, std::span<const float> centers, const float* x,
                    const float* g, std::span<CenteredSums> sums) {
  if (p.block == 1) {
    ForEachBlock(p, [&](int64_t channel, int64_t, int64_t at) {
      const auto c = static_cast<size_t>(channel);
      if (p.plane > 1) {
        AddCenteredSums(p.plane, centers[c], x + at, g == nullptr ? x + at : g + at, sums[c]);
      } else if (p.plane == 1) {
        AddOne(centers[c], x[at], g == nullptr ? nullptr : g + at, sums[c]);
      }
    });
    return;
  }
  // Blocks are summed with their padding.
  std::vector<BlockSums> blocks(static_cast<size_t>(BlockCount(p)));
  std::vector<float> wide(blocks.size() * static_cast<size_t>(p.block), 0.0F);
  std::copy(centers.begin(), centers.end(), wide.begin());
  ForEachBlock(p, [&](int64_t c, int64_t, int64_t at) {
    AddBlockSums(p.block, p.plane, wide.data() + c, x + at, g == nullptr ? nullptr : g + at,
                 blocks[static_cast<size_t>(c / p.block)]);
  });
  for (size_t c = 0; c < sums.size(); ++c) {
    const BlockSums& from = blocks[c / static_cast<size_t>(p.block)];
    const size_t lane = c % static_cast<size_t>(p.block);
    sums[c].d += from.d[lane];
    sums[c].squares += from.squares[lane];
    sums[c].g += from.g[lane];
    sums[c].products += from.products[lane];
  }
}

void ScaleShiftChannels(const ChannelPlanes& p, std::span<const float> scale,
                        std::span<const float> shift, const float* x, float* y) {
  ForEachBlock(p, [&](int64_t channel, int64_t live, int64_t at) {
    const auto c = static_cast<size_t>(channel);
    if (p.block == 1) {
      ScaleShift(p.plane, scale[c], shift[c], x + at, y + at);
      return;
    }
    // Zero in, zero out for the channels past the last.
    float a[kMaxBlock] = {};
    float b[kMaxBlock] = {};
    std::copy_n(scale.begin() + channel, live, a);
    std::copy_n(shift.begin() + channel, live, b);
    ScaleShiftBlock(p.block, p.plane, a, b, x + at, y + at);
  });
}

void CombineChannels(const ChannelPlanes& p, std::span<const ChannelLine> lines, const float* g,
                     const float* x, float* dx) {
  ForEachBlock(p, [&](int64_t channel, int64_t live, int64_t at) {
    const ChannelLine& line = lines[static_cast<size_t>(channel)];
    if (p.block > 1) {
      BlockLine block;
      for (int64_t i = 0; i < live; ++i) {
        const ChannelLine& from = lines[static_cast<size_t>(channel + i)];
        block.a[i] = from.a;
        block.b[i] = from.b;
        block.center[i] = from.center;
        block.c[i] = from.c;
      }
      CombineBlock(p.block, p.plane, block, g + at, x + at, dx + at);
    } else if (p.plane > 1) {
      CombineCentered(p.plane, line.a, line.b, line.center, line.c, g + at, x + at, dx + at);
    } else if (p.plane == 1) {
      dx[at] = line.a * g[at] + (line.b * (x[at] - line.center) + line.c);
    }
  });
}

}  // namespace lathe::engine
