#include "worker/engine/passes/integer_weight.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

namespace lathe::engine {
namespace {

std::vector<float> Random(uint32_t seed, int64_t count) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = normal(random);
  return values;
}

std::span<const int8_t> Integers(const IntegerWeight& weight) {
  return {reinterpret_cast<const int8_t*>(weight.integers.data()), weight.integers.size()};
}

// Channel of element i.
int64_t ChannelOf(int64_t i, const Shape& dims, int axis) {
  if (axis == 1) return i % dims[1];
  int64_t inner = 1;
  for (size_t d = 1; d < dims.size(); ++d) inner *= dims[d];
  return i / inner;
}

struct Case {
  Shape dims;
  int axis;
};
const Case kCases[] = {
    {{8, 16}, 0}, {{16, 8}, 1}, {{6, 5, 3, 3}, 0}, {{4, 1, 3, 3}, 0}, {{7, 4, 5}, 0}};

TEST(IntegerWeightTest, DecodesToWithinHalfAStepWithoutTheBoundOnPairs) {
  for (const Case& c : kCases) {
    int64_t count = 1;
    for (const int64_t extent : c.dims) count *= extent;
    const std::vector<float> w = Random(3, count);
    IntegerWeightRule rule;
    rule.safe_pairs = false;
    const IntegerWeight rounded = RoundIntegerWeight(w, c.dims, c.axis, rule, {}, *MakeSerial());
    double error = 0;
    for (int64_t i = 0; i < count; ++i) {
      const float scale = rounded.scales[static_cast<size_t>(ChannelOf(i, c.dims, c.axis))];
      const double d = w[static_cast<size_t>(i)] -
                       Integers(rounded)[static_cast<size_t>(i)] * static_cast<double>(scale);
      // Half a step, and what float32's division and product round away.
      EXPECT_LE(std::abs(d), 0.5 * scale * (1 + 1e-4));
      error += d * d;
    }
    EXPECT_NEAR(rounded.squared_error, error, 1e-9);
  }
}

TEST(IntegerWeightTest, PairsAreMadeSafeForTheLeastError) {
  for (const Case& c : kCases) {
    int64_t count = 1;
    for (const int64_t extent : c.dims) count *= extent;
    std::vector<float> w = Random(5, count);
    for (float& value : w) value = std::abs(value) + 0.5f;  // of one sign: many large pairs
    IntegerWeightRule rule;
    rule.safe_pairs = false;
    const IntegerWeight plain = RoundIntegerWeight(w, c.dims, c.axis, rule, {}, *MakeSerial());
    rule.safe_pairs = true;
    const IntegerWeight safe = RoundIntegerWeight(w, c.dims, c.axis, rule, {}, *MakeSerial());
    EXPECT_TRUE(PairsAreSafe(Integers(safe), c.dims, c.axis));
    if (PairsAreSafe(Integers(plain), c.dims, c.axis)) continue;
    EXPECT_GT(safe.repaired_channels, 0);
    // At twice the scale no pair passes the bound, and rounding errors double at most.
    EXPECT_LE(safe.squared_error, 4.5 * plain.squared_error);
  }
}

TEST(IntegerWeightTest, TheOrderOfPairsIsKernelPositionsOutsideInputsInside) {
  // [O=1, I=2, k=2]: the reduction is (k0 i0, k0 i1, k1 i0, k1 i1) = elements 0, 2, 1, 3.
  const Shape dims = {1, 2, 2};
  EXPECT_FALSE(PairsAreSafe(std::vector<int8_t>{100, 0, 100, 0}, dims, 0));
  EXPECT_TRUE(PairsAreSafe(std::vector<int8_t>{100, 100, 0, 0}, dims, 0));
  // [K=4, N=1]: neighbours along K.
  EXPECT_FALSE(PairsAreSafe(std::vector<int8_t>{0, 0, -65, -65}, {4, 1}, 1));
  EXPECT_TRUE(PairsAreSafe(std::vector<int8_t>{0, 65, 65, -120}, {4, 1}, 1));
  EXPECT_TRUE(PairsAreSafe(std::vector<int8_t>{127, -127, 64, 64}, {4, 1}, 1));
}

TEST(IntegerWeightTest, OddFormsHoldTheirPromises) {
  IntegerWeightRule rule;
  // Zeros: any scale, no error.
  const IntegerWeight zeros =
      RoundIntegerWeight(std::vector<float>(12, 0.0f), {3, 4}, 0, rule, {}, *MakeSerial());
  EXPECT_EQ(zeros.squared_error, 0);
  for (const float scale : zeros.scales) EXPECT_GT(scale, 0);
  // One scale for all.
  rule.per_channel = false;
  EXPECT_EQ(RoundIntegerWeight(Random(1, 12), {3, 4}, 0, rule, {}, *MakeSerial()).scales.size(),
            1u);
  // Powers of two.
  rule.per_channel = true;
  rule.powers_of_two = true;
  for (const float scale :
       RoundIntegerWeight(Random(1, 12), {3, 4}, 0, rule, {}, *MakeSerial()).scales) {
    EXPECT_EQ(std::exp2(std::round(std::log2(scale))), scale);
  }
  // Least scales.
  rule.powers_of_two = false;
  const std::vector<float> least = {0, 10, 0};
  const IntegerWeight bounded =
      RoundIntegerWeight(Random(1, 12), {3, 4}, 0, rule, least, *MakeSerial());
  EXPECT_EQ(bounded.scales[1], 10);
  EXPECT_LT(bounded.scales[0], 1);
}

TEST(IntegerWeightTest, ThreadsDoNotChangeTheResult) {
  const std::vector<float> w = Random(9, 100 * 37);
  const IntegerWeight one = RoundIntegerWeight(w, {100, 37}, 0, {}, {}, *MakeSerial());
  const IntegerWeight four = RoundIntegerWeight(w, {100, 37}, 0, {}, {}, *MakeThreadPool(4));
  EXPECT_EQ(one.integers, four.integers);
  EXPECT_EQ(one.scales, four.scales);
  EXPECT_EQ(one.squared_error, four.squared_error);
}

}  // namespace
}  // namespace lathe::engine
