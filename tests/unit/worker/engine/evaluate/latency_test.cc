#include "worker/engine/evaluate/latency.h"

#include <gtest/gtest.h>

namespace lathe::engine {
namespace {

// A clock that runs only while a model does.
class LatencyTest : public testing::Test {
 protected:
  std::function<absl::Status()> Model(double seconds) {
    return [this, seconds] {
      now_ += seconds;
      ++runs_;
      return absl::OkStatus();
    };
  }
  std::function<double()> Clock() {
    return [this] { return now_; };
  }
  double now_ = 100;
  int runs_ = 0;
};

TEST_F(LatencyTest, MediansAndRatioAreThoseOfTheModels) {
  const auto latency = MeasureLatency(Model(0.004), Model(0.001), Clock());
  ASSERT_TRUE(latency.ok()) << latency.status();
  // Sums of binary fractions: a few units in the last place of the clock, 100 s.
  EXPECT_NEAR(latency->before.median_ms, 4, 1e-8);
  EXPECT_NEAR(latency->after.p90_ms, 1, 1e-8);
  EXPECT_NEAR(latency->ratio, 0.25, 1e-8);
  EXPECT_EQ(latency->runs, 200);
  EXPECT_EQ(runs_, 2 * (200 + 3));
}

TEST_F(LatencyTest, SlowModelsRunAFewTimesOnly) {
  const auto latency = MeasureLatency(Model(10), Model(20), Clock());
  ASSERT_TRUE(latency.ok());
  EXPECT_EQ(latency->runs, 5);
  EXPECT_NEAR(latency->ratio, 2, 1e-8);
}

TEST_F(LatencyTest, TheBudgetEndsTheMeasurement) {
  const auto latency = MeasureLatency(Model(0.05), Model(0.05), Clock());
  ASSERT_TRUE(latency.ok());
  EXPECT_GE(latency->runs, 15);
  EXPECT_LE(latency->runs, 17);
}

TEST_F(LatencyTest, AFailingRunIsTheAnswer) {
  const auto fail = [] { return absl::InvalidArgumentError("no"); };
  EXPECT_EQ(MeasureLatency(Model(1), fail, Clock()).status().message(), "no");
}

TEST(QuantileTest, InterpolatesBetweenNeighbours) {
  EXPECT_EQ(Quantile({}, 0.5), 0);
  EXPECT_EQ(Quantile({3}, 0.9), 3);
  EXPECT_EQ(Quantile({4, 1, 3, 2}, 0.5), 2.5);
  EXPECT_EQ(Quantile({1, 2, 3}, 0), 1);
  EXPECT_EQ(Quantile({1, 2, 3}, 1), 3);
}

}  // namespace
}  // namespace lathe::engine
