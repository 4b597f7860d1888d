#include "worker/engine/calibrate/log_histogram.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace lathe::engine {
namespace {

std::vector<float> Mixed(uint32_t seed, int count) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values;
  for (int i = 0; i < count; ++i) {
    values.push_back(i % 7 == 0 ? 0.0f : normal(random) * (i % 100 == 0 ? 1e6f : 1.0f));
  }
  return values;
}

TEST(LogHistogramTest, BinsHoldTheirValuesAndRise) {
  const std::vector<float> values = Mixed(1, 5000);
  LogHistogram histogram;
  histogram.Add(values);
  EXPECT_EQ(histogram.count(), 5000);
  int64_t total = 0;
  double last = -INFINITY;
  for (const LogHistogram::Bin& bin : histogram.Bins()) {
    EXPECT_LE(bin.low, bin.high);
    EXPECT_GT(bin.low, last);
    last = bin.high;
    total += bin.count;
    int64_t inside = 0;
    for (const float value : values) inside += value >= bin.low && value <= bin.high;
    EXPECT_EQ(inside, bin.count) << bin.low << " to " << bin.high;
    // Six bits of fraction: a bin is at most 1/64 of its lower end wide.
    const double near = std::min(std::abs(bin.low), std::abs(bin.high));
    EXPECT_LE(bin.high - bin.low, near / 64 + 1e-300);
  }
  EXPECT_EQ(total, 5000);
}

TEST(LogHistogramTest, PartsAddUpToTheWholeInAnyOrder) {
  const std::vector<float> a = Mixed(2, 3000);
  const std::vector<float> b = Mixed(3, 2000);
  LogHistogram whole;
  whole.Add(a);
  whole.Add(b);
  LogHistogram first;
  first.Add(a);
  LogHistogram second;
  second.Add(b);
  second.Merge(first);
  const auto wanted = whole.Bins();
  const auto got = second.Bins();
  ASSERT_EQ(got.size(), wanted.size());
  for (size_t i = 0; i < got.size(); ++i) {
    EXPECT_EQ(got[i].low, wanted[i].low);
    EXPECT_EQ(got[i].count, wanted[i].count);
  }
}

TEST(LogHistogramTest, AStrideLooksAtSomeOnly) {
  const std::vector<float> values = {1, 2, 3, 4, 5, 6, 7};
  LogHistogram histogram;
  histogram.Add(values, 3);
  EXPECT_EQ(histogram.count(), 3);
  EXPECT_EQ(histogram.Bins().front().low, 1);
  EXPECT_EQ(histogram.Bins().back().low, 7);
}

}  // namespace
}  // namespace lathe::engine
