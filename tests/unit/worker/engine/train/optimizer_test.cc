#include "worker/engine/train/optimizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "worker/engine/train/philox.h"

namespace lathe::engine {
namespace {

// The formulas of optimizer.h in float64.
struct Reference {
  OptimizerOptions options;
  double m = 0;
  double v = 0;
  void Step(int64_t t, double rate, bool decay, double g, double& w) {
    const double pull = decay ? options.weight_decay : 0;
    if (options.kind == OptimizerKind::kSgd) {
      g += pull * w;
      m = options.beta1 * m + g;
      w -= rate * (options.nesterov && options.beta1 > 0 ? g + options.beta1 * m : m);
      return;
    }
    if (options.kind == OptimizerKind::kAdam) g += pull * w;
    m = options.beta1 * m + (1 - options.beta1) * g;
    v = options.beta2 * v + (1 - options.beta2) * g * g;
    const double mean = m / (1 - std::pow(options.beta1, t));
    const double square = v / (1 - std::pow(options.beta2, t));
    if (options.kind == OptimizerKind::kAdamW) w -= rate * pull * w;
    w -= rate * mean / (std::sqrt(square) + options.epsilon);
  }
};

TEST(OptimizerTest, EveryKindFollowsItsFormula) {
  for (const OptimizerKind kind :
       {OptimizerKind::kAdam, OptimizerKind::kAdamW, OptimizerKind::kSgd}) {
    for (const bool decay : {false, true}) {
      OptimizerOptions options;
      options.kind = kind;
      options.weight_decay = 0.1;
      std::vector<float> w = {0.5f, -2.0f, 0.0f, 1e-3f};
      std::vector<Reference> references(w.size(), {options});
      std::vector<double> wanted(w.begin(), w.end());
      Moments moments;
      for (int64_t t = 1; t <= 50; ++t) {
        std::vector<float> g;
        for (size_t i = 0; i < w.size(); ++i) {
          g.push_back(
              static_cast<float>(std::sin(static_cast<double>(t) * 0.7 + static_cast<double>(i))));
        }
        OptimizerStep(options, t, 0.01, decay, g, w, &moments);
        for (size_t i = 0; i < w.size(); ++i) {
          references[i].Step(t, 0.01, decay, static_cast<double>(g[i]), wanted[i]);
        }
      }
      // Fifty steps of float32 rounding, each 2^-24 of values of the order of one.
      for (size_t i = 0; i < w.size(); ++i) EXPECT_NEAR(w[i], wanted[i], 2e-5);
    }
  }
}

TEST(OptimizerTest, SchedulesRiseAndFall) {
  Schedule schedule;
  schedule.rate = 1;
  schedule.total_steps = 100;
  schedule.warmup_steps = 10;
  schedule.kind = ScheduleKind::kCosine;
  EXPECT_DOUBLE_EQ(RateAt(schedule, 1), 0.1);
  EXPECT_DOUBLE_EQ(RateAt(schedule, 10), 1);
  EXPECT_DOUBLE_EQ(RateAt(schedule, 11), 1);
  EXPECT_NEAR(RateAt(schedule, 56), 0.5, 1e-12);
  EXPECT_LT(RateAt(schedule, 100), 0.01);
  schedule.kind = ScheduleKind::kLinear;
  EXPECT_NEAR(RateAt(schedule, 56), 0.5, 1e-12);
  schedule.kind = ScheduleKind::kConstant;
  EXPECT_DOUBLE_EQ(RateAt(schedule, 100), 1);
  schedule.kind = ScheduleKind::kStep;
  schedule.every = 40;
  EXPECT_DOUBLE_EQ(RateAt(schedule, 40), 1);
  EXPECT_DOUBLE_EQ(RateAt(schedule, 41), 0.1);
  EXPECT_NEAR(RateAt(schedule, 81), 0.01, 1e-15);
}

// Known answers of the Random123 distribution (kat_vectors, philox4x32 10).
TEST(PhiloxTest, GivesTheKnownAnswers) {
  EXPECT_THAT(Philox(0, 0, 0),
              ::testing::ElementsAre(0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8));
  constexpr uint64_t kOnes = ~uint64_t{0};
  EXPECT_THAT(Philox(kOnes, kOnes, kOnes),
              ::testing::ElementsAre(0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd));
}

}  // namespace
}  // namespace lathe::engine
