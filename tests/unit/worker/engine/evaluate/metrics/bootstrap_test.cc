#include "worker/engine/evaluate/metrics/bootstrap.h"

#include <gtest/gtest.h>

#include <cmath>

#include "common/limits.h"

namespace lathe::engine {
namespace {

double Itself(double mean) { return mean; }

TEST(Bootstrap, DrawsEveryUnitAboutEquallyOften) {
  constexpr int64_t kUnits = 7;
  constexpr int64_t kDraws = 70'000;
  std::vector<int64_t> counts(kUnits, 0);
  for (int64_t i = 0; i < kDraws; ++i) {
    const int64_t unit = DrawUnit(1, i % 13, i, kUnits);
    ASSERT_GE(unit, 0);
    ASSERT_LT(unit, kUnits);
    ++counts[static_cast<size_t>(unit)];
  }
  // Binomial (70000, 1/7): a standard deviation of 93; five of them.
  for (const int64_t count : counts) EXPECT_NEAR(static_cast<double>(count), 10'000, 463);
}

TEST(Bootstrap, IntervalIsThatOfTheMean) {
  // Changes of 1 and -1, and a little more, in turn: their mean over 400 has a standard deviation
  // of 0.05.
  PairedSums sums;
  for (int i = 0; i < 400; ++i)
    sums.Add({0, 1, (i % 2 == 0 ? 1.0 : -1.0) + 1e-5 * i * (i % 3 - 1), 1});
  const BootstrapResult got = sums.Bootstrap(Itself, 2000, 0);
  EXPECT_EQ(got.resamples, 2000);
  // The 2.5 % quantile of 2000 resamples is known to about 0.003.
  EXPECT_NEAR(got.interval[0], -1.96 * 0.05, 0.012);
  EXPECT_NEAR(got.interval[1], 1.96 * 0.05, 0.012);
  EXPECT_GT(got.p_value, 0.5);
  EXPECT_EQ(sums.Bootstrap(Itself, 2000, 0).interval, got.interval);
  EXPECT_NE(sums.Bootstrap(Itself, 2000, 1).interval, got.interval);
}

TEST(Bootstrap, NeighboursArePutTogetherWhenThereAreManyExamples) {
  PairedSums sums;
  const int64_t examples = 4 * limits::kMaxBootstrapUnits + 3;
  for (int64_t i = 0; i < examples; ++i) sums.Add({1, 1, static_cast<double>(i), 1});
  EXPECT_LE(static_cast<int64_t>(sums.units().size()), limits::kMaxBootstrapUnits);
  EXPECT_EQ(sums.examples_a_unit(), 8);
  PairedSums::Unit all;
  for (const PairedSums::Unit& unit : sums.units()) all.Add(unit);
  EXPECT_EQ(all.denominator_before, static_cast<double>(examples));
  EXPECT_EQ(all.numerator_after, static_cast<double>(examples * (examples - 1) / 2));
  EXPECT_EQ(sums.units()[1].numerator_after, 8 + 9 + 10 + 11 + 12 + 13 + 14 + 15);
}

TEST(Bootstrap, ResamplesWithoutAFigureAreLeftOut) {
  EXPECT_EQ(SummarizeResamples({NAN, INFINITY}).resamples, 0);
  const BootstrapResult got = SummarizeResamples({NAN, 2, 1, 3});
  EXPECT_EQ(got.resamples, 3);
  EXPECT_DOUBLE_EQ(got.interval[0], 1.05);
  EXPECT_DOUBLE_EQ(got.p_value, 2 * (0 + 1) / 4.0);
  PairedSums none;
  none.Add({0, 0, 0, 0});
  EXPECT_EQ(none.Bootstrap(Itself, 100, 0).resamples, 0);
  EXPECT_EQ(PairedSums().Bootstrap(Itself, 100, 0).resamples, 0);
}

}  // namespace
}  // namespace lathe::engine
