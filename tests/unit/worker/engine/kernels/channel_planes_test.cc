// Against loops in double precision, in every layout.
#include "worker/engine/kernels/channel_planes.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

namespace lathe::engine {
namespace {

struct Case {
  Shape dims;
  Layout layout;
};

const Case kCases[] = {
    {{2, 3, 5}, Layout::kPlain},         {{4, 5}, Layout::kPlain},
    {{2, 16, 7, 5}, Layout::kBlocked8},  {{3, 11, 300}, Layout::kBlocked8},
    {{2, 11, 3, 3}, Layout::kBlocked16}, {{1, 32, 257}, Layout::kBlocked16},
};

// Where element (n, c, i) lies.
size_t At(const ChannelPlanes& p, int64_t n, int64_t c, int64_t i) {
  const int64_t blocks = (p.channels + p.block - 1) / p.block;
  return static_cast<size_t>(((n * blocks + c / p.block) * p.plane + i) * p.block + c % p.block);
}

std::vector<float> Random(const ChannelPlanes& p, uint32_t seed, float middle) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal(middle, 1);
  const int64_t blocks = (p.channels + p.block - 1) / p.block;
  std::vector<float> out(static_cast<size_t>(p.batch * blocks * p.block * p.plane), 0.0f);
  for (int64_t n = 0; n < p.batch; ++n) {
    for (int64_t c = 0; c < p.channels; ++c) {
      for (int64_t i = 0; i < p.plane; ++i) out[At(p, n, c, i)] = normal(engine);
    }
  }
  return out;
}

TEST(ChannelPlanesTest, SumsAroundTheFirstPlanesMeans) {
  for (const Case& test : kCases) {
    const ChannelPlanes p = ChannelPlanes::Of(test.dims, test.layout);
    const std::vector<float> x = Random(p, 1, 10);
    const std::vector<float> g = Random(p, 2, 0);
    const auto channels = static_cast<size_t>(p.channels);
    std::vector<float> centers(channels);
    FirstPlaneMeans(p, x.data(), centers);
    std::vector<CenteredSums> sums(channels);
    AddChannelSums(p, centers, x.data(), g.data(), sums);
    std::vector<CenteredSums> without(channels);
    AddChannelSums(p, centers, x.data(), nullptr, without);
    for (int64_t c = 0; c < p.channels; ++c) {
      const auto k = static_cast<size_t>(c);
      double mean = 0;
      for (int64_t i = 0; i < p.plane; ++i) mean += x[At(p, 0, c, i)] / double(p.plane);
      EXPECT_NEAR(mean, centers[k], 1e-5);
      CenteredSums wanted;
      double size = 0;
      for (int64_t n = 0; n < p.batch; ++n) {
        for (int64_t i = 0; i < p.plane; ++i) {
          const double d = double(x[At(p, n, c, i)]) - double(centers[k]);
          const double grad = g[At(p, n, c, i)];
          wanted.d += d;
          wanted.squares += d * d;
          wanted.g += grad;
          wanted.products += grad * d;
          size += std::abs(d) + d * d + std::abs(grad) + std::abs(grad * d);
        }
      }
      // Runs of 128 or so are summed in float32: roundings of 2^-24 of the terms' sizes.
      const double bound = 1e-6 * (1 + size);
      EXPECT_NEAR(wanted.d, sums[k].d, bound);
      EXPECT_NEAR(wanted.squares, sums[k].squares, bound);
      EXPECT_NEAR(wanted.g, sums[k].g, bound);
      EXPECT_NEAR(wanted.products, sums[k].products, bound);
      EXPECT_EQ(sums[k].d, without[k].d);
      EXPECT_EQ(sums[k].squares, without[k].squares);
    }
  }
}

TEST(ChannelPlanesTest, MapsLeaveThePaddingZero) {
  for (const Case& test : kCases) {
    const ChannelPlanes p = ChannelPlanes::Of(test.dims, test.layout);
    const std::vector<float> x = Random(p, 3, 1);
    std::vector<float> y = Random(p, 4, 0);
    const std::vector<float> g = y;
    const auto channels = static_cast<size_t>(p.channels);
    std::vector<float> scale(channels);
    std::vector<float> shift(channels);
    std::vector<ChannelLine> lines(channels);
    for (size_t c = 0; c < channels; ++c) {
      scale[c] = 0.5f + static_cast<float>(c);
      shift[c] = 1.0f - static_cast<float>(c);
      lines[c] = {scale[c], 0.25f, shift[c], 2.0f};
    }
    std::vector<float> scaled(x.size(), -1.0f);
    ScaleShiftChannels(p, scale, shift, x.data(), scaled.data());
    CombineChannels(p, lines, y.data(), x.data(), y.data());
    std::vector<bool> is_padding(x.size(), true);
    for (int64_t n = 0; n < p.batch; ++n) {
      for (int64_t c = 0; c < p.channels; ++c) {
        const auto k = static_cast<size_t>(c);
        for (int64_t i = 0; i < p.plane; ++i) {
          const size_t at = At(p, n, c, i);
          // Two roundings of numbers of that size.
          const float bound = 1e-6f * (1 + std::abs(scaled[at]) + std::abs(y[at]) + scale[k]) * 4;
          EXPECT_NEAR(x[at] * scale[k] + shift[k], scaled[at], bound);
          EXPECT_NEAR(scale[k] * g[at] + (0.25f * (x[at] - shift[k]) + 2.0f), y[at], bound);
          is_padding[at] = false;
        }
      }
    }
    for (size_t i = 0; i < x.size(); ++i) {
      if (!is_padding[i]) continue;
      EXPECT_EQ(0.0f, scaled[i]);
      EXPECT_EQ(0.0f, y[i]);
    }
  }
}

}  // namespace
}  // namespace lathe::engine
