#include "worker/engine/kernels/weighted_clip.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace lathe::engine {
namespace {

double WeightedError(const std::vector<float>& w, const std::vector<float>& importance,
                     const RoundingRule& rule, const SetScale& s) {
  std::vector<int8_t> q(w.size());
  RoundSet(w.data(), static_cast<int64_t>(w.size()), rule, s, q.data());
  double sum = 0;
  for (size_t i = 0; i < w.size(); ++i) {
    const int value = rule.symmetric ? q[i] : static_cast<uint8_t>(q[i]);
    const double e = w[i] - static_cast<double>(value - s.zero_point) * s.scale;
    sum += importance[i] * e * e;
  }
  return sum;
}

std::vector<float> Weights(size_t count) {
  std::vector<float> w;
  for (size_t i = 0; i < count; ++i) w.push_back(std::sin(static_cast<float>(i * i + 1)) * 0.3f);
  return w;
}

TEST(FindScaleWeighted, ClipsWhatDoesNotCount) {
  for (const bool symmetric : {true, false}) {
    const RoundingRule rule{3, symmetric, false};
    std::vector<float> w = Weights(37);
    std::vector<float> importance(w.size(), 1.0f);
    w[5] = 1.0f;
    importance[5] = 0;  // the outlier is never seen
    const SetScale s = FindScaleWeighted(w.data(), importance.data(), 37, rule);
    // The range shrinks from 1 towards 0.3, and the squared step with it, less what is then
    // clipped.
    EXPECT_LT(WeightedError(w, importance, rule, s),
              0.5 * WeightedError(w, importance, rule, FindScale(w.data(), 37, rule)));
    importance[5] = 1e6;
    const SetScale kept = FindScaleWeighted(w.data(), importance.data(), 37, rule);
    EXPECT_GT(kept.scale, s.scale);
  }
}

TEST(FindScaleWeighted, IsTheSearchWithoutWeightsWhereAllCountTheSame) {
  for (const int bits : {2, 4, 5, 8}) {
    const std::vector<float> w = Weights(64);
    const std::vector<float> importance(w.size(), 2.0f);
    const RoundingRule rule{bits, true, true};
    const double plain = WeightedError(w, importance, rule, FindScale(w.data(), 64, rule));
    const double weighted = WeightedError(w, importance, rule,
                                          FindScaleWeighted(w.data(), importance.data(), 64, rule));
    EXPECT_NEAR(weighted, plain, 1e-5 * plain) << bits;
  }
}

TEST(FindScaleWeighted, TakesZerosAndWhatNeverCounts) {
  const std::vector<float> zeros(8, 0.0f);
  const RoundingRule rule{4, true, false};
  EXPECT_EQ(FindScaleWeighted(zeros.data(), zeros.data(), 8, rule).scale, 1.0f);
  const std::vector<float> w = Weights(8);
  EXPECT_EQ(FindScaleWeighted(w.data(), zeros.data(), 8, rule).scale,
            FindScale(w.data(), 8, rule).scale);
}

TEST(RoundOne, IsRoundSetOfOneWeight) {
  const float far = std::numeric_limits<float>::max();
  for (const RoundingRule& rule : {RoundingRule{4, true, false}, RoundingRule{8, false, false}}) {
    for (const float w : {-far, -1.3f, -0.25f, 0.0f, 0.125f, 0.375f, 2.0f, far}) {
      const SetScale s{0.25f, rule.symmetric ? 0 : 9};
      int8_t q = 0;
      RoundSet(&w, 1, rule, s, &q);
      const int expected = rule.symmetric ? q : static_cast<uint8_t>(q);
      EXPECT_EQ(RoundOne(w, 1.0f / s.scale, s.zero_point, static_cast<int>(LowestInteger(rule)),
                         static_cast<int>(HighestInteger(rule))),
                expected)
          << w;
    }
  }
}

}  // namespace
}  // namespace lathe::engine
