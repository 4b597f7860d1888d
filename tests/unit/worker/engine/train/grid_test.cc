#include "worker/engine/train/grid.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

namespace lathe::engine {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

Grid TwoBits(std::vector<float> scales, std::vector<int32_t> set_of) {
  Grid grid;
  grid.lo = -2;
  grid.hi = 1;
  grid.scales = std::move(scales);
  grid.set_of = std::move(set_of);
  grid.learn_scales = true;
  return grid;
}

TEST(GridTest, WhatIsProjectedIsWhatTheIntegersStandFor) {
  const Grid grid = TwoBits({0.5f, 0.1f}, {0, 0, 0, 1, 1, 1});
  const std::vector<float> w = {0.26f, -0.8f, -3.0f, 0.05f, 0.04f, 9.0f};
  std::vector<float> out(w.size());
  Project(grid, w, out);
  EXPECT_THAT(RoundToGrid(grid, w), ElementsAre(1, -2, -2, 0, 0, 1));
  for (size_t i = 0; i < w.size(); ++i) {
    EXPECT_EQ(out[i], static_cast<float>(RoundToGrid(grid, w)[i]) * grid.scales[grid.set_of[i]]);
  }
}

TEST(GridTest, ZeroPointsShiftTheRange) {
  Grid grid = TwoBits({0.5f}, {0, 0, 0});
  grid.lo = 0;
  grid.hi = 3;
  grid.zero_points = {1};
  EXPECT_THAT(RoundToGrid(grid, std::vector<float>{-2, 0, 0.9f}), ElementsAre(0, 1, 3));
  std::vector<float> out(3);
  Project(grid, std::vector<float>{-2, 0, 0.9f}, out);
  EXPECT_THAT(out, ElementsAre(-0.5f, 0.0f, 1.0f));
}

// d/ds of sum G clip(round(w / s)) s, rounding taken as constant, times 1 / sqrt(n most).
TEST(GridTest, GradientsAreThoseOfLearnedStepSizes) {
  const Grid grid = TwoBits({0.5f}, {0, 0, 0, 0});
  const std::vector<float> w = {0.3f, -0.7f, 4.0f, -5.0f};
  std::vector<float> grad = {1, 2, 3, 4};
  std::vector<float> scale_grad(1);
  ProjectBackward(grid, w, grad, scale_grad);
  EXPECT_THAT(grad, ElementsAre(1, 2, 0, 0));  // outside: nothing
  const double wanted = (1 * (1 - 0.6) + 2 * (-1 + 1.4) + 3 * 1 + 4 * -2) / std::sqrt(4.0 * 2.0);
  EXPECT_NEAR(scale_grad[0], wanted, 1e-6);
}

TEST(GridTest, SetsFollowTheShapeOfTheScales) {
  EXPECT_THAT(SetsOf({2, 3}, {}, 0), ElementsAre(0, 0, 0, 0, 0, 0));
  EXPECT_THAT(SetsOf({2, 3}, {3}, 0), ElementsAre(0, 1, 2, 0, 1, 2));
  EXPECT_THAT(SetsOf({2, 3}, {2, 1}, 0), ElementsAre(0, 0, 0, 1, 1, 1));
  EXPECT_THAT(SetsOf({2, 4}, {2, 2}, 2), ElementsAre(0, 0, 1, 1, 2, 2, 3, 3));
  EXPECT_THAT(SetsOf({1, 5}, {1, 3}, 2), ElementsAre(0, 0, 1, 1, 2));
  EXPECT_THAT(SetsOf({2, 3}, {4}, 0), IsEmpty());
}

TEST(GridTest, ScalesAreSettledAsTheyAreStored) {
  Grid grid = TwoBits({0.1f, 0.0f}, {0, 1});
  grid.half_scales = true;
  SettleScales(grid);
  EXPECT_EQ(grid.scales[0], HalfToFloat(FloatToHalf(0.1f)));
  EXPECT_GT(grid.scales[1], 0);
}

}  // namespace
}  // namespace lathe::engine
