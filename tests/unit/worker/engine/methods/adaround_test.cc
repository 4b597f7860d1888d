#include "worker/engine/methods/adaround.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/unit/worker/engine/methods/rounding_problems.h"

namespace lathe::engine {
namespace {

using testing::MakeProblem;
using testing::NaiveError;

TEST(AdaRound, EndsWhereNoSingleFlipHelpsAndBelowNearest) {
  for (const bool symmetric : {true, false}) {
    const RoundingProblem problem = MakeProblem(6, 48, 16, 3, symmetric);
    const auto serial = MakeSerial();
    RoundedRows rounded = RoundNearest(problem, *serial);
    const double nearest = NaiveError(problem, DecodeRows(problem, rounded));
    ImproveByFlips(problem, &rounded, *serial);
    std::vector<float> decoded = DecodeRows(problem, rounded);
    const double error = NaiveError(problem, decoded);
    EXPECT_LE(error, 0.5 * nearest);
    for (size_t i = 0; i < decoded.size(); ++i) {
      const float s = rounded.scales[i / 16].scale;
      // Up or down, where the range has both.
      const float away = std::abs(problem.w[i] - decoded[i]) / s;
      const float before = decoded[i];
      if (away > 1.0001f) continue;  // clipped
      decoded[i] += problem.w[i] > before ? s : -s;
      const int q =
          static_cast<int>(std::lround(decoded[i] / s)) + rounded.scales[i / 16].zero_point;
      if (q >= LowestInteger(problem.rule) && q <= HighestInteger(problem.rule)) {
        // Sums of 48 products in float32, updated in place.
        EXPECT_GE(NaiveError(problem, decoded), error * (1 - 1e-4)) << i;
      }
      decoded[i] = before;
    }
  }
}

TEST(AdaRound, DoesNotDependOnTheNumberOfThreads) {
  const RoundingProblem problem = MakeProblem(600, 40, 40, 4);
  std::vector<RoundedRows> of_threads;
  for (const int threads : {1, 4}) {
    const auto parallel = MakeThreadPool(threads);
    of_threads.push_back(RoundNearest(problem, *parallel));
    ImproveByFlips(problem, &of_threads.back(), *parallel);
  }
  EXPECT_EQ(of_threads[0].q, of_threads[1].q);
}

}  // namespace
}  // namespace lathe::engine
