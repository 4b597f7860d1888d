#include "worker/engine/calibrate/value_range.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace lathe::engine {
namespace {

ValueStatistics Of(const std::vector<float>& values) {
  ValueStatistics seen;
  seen.Add(values, 1);
  return seen;
}

std::vector<float> Normal(uint32_t seed, int count, float outlier = 0) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values;
  for (int i = 0; i < count; ++i) values.push_back(normal(random));
  if (outlier != 0) values[static_cast<size_t>(count / 2)] = outlier;
  return values;
}

// Of the quantizer with these ends: zero is one of its levels.
double SquaredError(const std::vector<float>& values, const ValueRange& range, int bits) {
  const int steps = (1 << bits) - 1;
  const double step = (range.high - range.low) / steps;
  const double below = std::nearbyint(-range.low / step);
  double sum = 0;
  for (const float value : values) {
    const double q = std::min(std::max(std::nearbyint(value / step), -below), steps - below);
    sum += (value - q * step) * (value - q * step);
  }
  return sum / static_cast<double>(values.size());
}

TEST(ValueRangeTest, EveryMethodGivesARangeThatHoldsZeroAndNoMoreThanWasSeen) {
  for (const RangeMethod method :
       {RangeMethod::kMinMax, RangeMethod::kMovingAverage, RangeMethod::kPercentile,
        RangeMethod::kMse, RangeMethod::kEntropy}) {
    for (const bool symmetric : {false, true}) {
      for (const auto& values :
           {Normal(1, 4000), std::vector<float>(100, 3.0f), std::vector<float>(100, -2.0f),
            std::vector<float>(10, 0.0f), Normal(2, 4000, 1e6f), std::vector<float>{0.5f}}) {
        const ValueStatistics seen = Of(values);
        RangeRule rule;
        rule.method = method;
        rule.symmetric = symmetric;
        const ValueRange range = ChooseRange(seen, rule);
        EXPECT_LE(range.low, 0);
        EXPECT_GE(range.high, 0);
        const double largest = std::max(std::abs(seen.minimum), std::abs(seen.maximum));
        // The upper end of the histogram's last bin may pass the value by 1/64.
        EXPECT_LE(range.high, largest * 65 / 64);
        EXPECT_GE(range.low, -largest * 65 / 64);
        if (symmetric) {
          EXPECT_EQ(range.low, -range.high);
        }
        if (largest > 0) {
          EXPECT_GT(range.high - range.low, 0);
        }
      }
    }
  }
}

TEST(ValueRangeTest, MinMaxAndMovingAverageAreWhatTheySay) {
  ValueStatistics seen;
  seen.Add(std::vector<float>{-1, 2}, 1);
  seen.Add(std::vector<float>{-3, 4}, 1);
  RangeRule rule;
  rule.method = RangeMethod::kMinMax;
  EXPECT_EQ(ChooseRange(seen, rule).low, -3);
  EXPECT_EQ(ChooseRange(seen, rule).high, 4);
  rule.method = RangeMethod::kMovingAverage;
  EXPECT_NEAR(ChooseRange(seen, rule).low, 0.9 * -1 + 0.1 * -3, 1e-6);
  EXPECT_NEAR(ChooseRange(seen, rule).high, 0.9 * 2 + 0.1 * 4, 1e-6);
}

TEST(ValueRangeTest, MseIsAsGoodAsAnyOtherRange) {
  for (const int bits : {4, 8}) {
    for (const float outlier : {0.0f, 12.0f, 1e6f}) {
      const std::vector<float> values = Normal(7, 20000, outlier);
      RangeRule rule;
      rule.bits = bits;
      const double chosen = SquaredError(values, ChooseRange(Of(values), rule), bits);
      for (const double cut : {6.0, 4.0, 3.5, 3.0, 2.5, 2.0}) {
        // The search walks in steps of 4 %, and takes rounding for uniform: 5 % is what both cost.
        EXPECT_LE(chosen, 1.05 * SquaredError(values, {-cut, cut}, bits))
            << bits << " bits, outlier " << outlier << ", against " << cut;
      }
    }
  }
}

TEST(ValueRangeTest, PercentileCutsTheTails) {
  std::vector<float> values;
  for (int i = 1; i <= 10000; ++i) values.push_back(static_cast<float>(i) / 10000);
  RangeRule rule;
  rule.method = RangeMethod::kPercentile;
  rule.percentile = 90;
  const ValueRange range = ChooseRange(Of(values), rule);
  // Half of the 10 % above; a bin is 1/64 wide.
  EXPECT_NEAR(range.high, 0.95, 0.02);
  EXPECT_EQ(range.low, 0);
}

TEST(ValueRangeTest, ValuesThatAreNotFiniteAreMarked) {
  for (const float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
        -std::numeric_limits<float>::infinity()}) {
    for (const size_t at : {size_t{0}, size_t{17}, size_t{99}}) {
      std::vector<float> values(100, 1.0f);
      values[at] = bad;
      EXPECT_FALSE(Of(values).finite) << bad << " at " << at;
    }
  }
  EXPECT_TRUE(Of(std::vector<float>(100, 3e38f)).finite);
}

TEST(ValueRangeTest, ALargeTensorIsSampledAndItsExtremesAreNot) {
  std::vector<float> values(1 << 20, 0.5f);
  values[777777] = 9;
  const ValueStatistics seen = Of(values);
  EXPECT_EQ(seen.maximum, 9);
  EXPECT_GE(seen.histogram.count(), ValueStatistics::kSampledElements);
  EXPECT_LE(seen.histogram.count(), 3 * ValueStatistics::kSampledElements);
}

}  // namespace
}  // namespace lathe::engine
