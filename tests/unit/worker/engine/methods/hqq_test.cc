#include "worker/engine/methods/hqq.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/unit/worker/engine/methods/rounding_problems.h"

namespace lathe::engine {
namespace {

using testing::MakeProblem;

double SumOfPowers(const RoundingProblem& problem, const RoundedRows& rounded) {
  const std::vector<float> decoded = DecodeRows(problem, rounded);
  double sum = 0;
  for (size_t i = 0; i < decoded.size(); ++i) {
    sum += std::pow(std::abs(static_cast<double>(problem.w[i]) - decoded[i]), 0.75);
  }
  return sum;
}

TEST(Hqq, LowersTheErrorThatItIsAbout) {
  for (const bool symmetric : {true, false}) {
    RoundingProblem problem = MakeProblem(50, 128, 64, 3, symmetric);
    for (size_t i = 0; i < problem.w.size(); i += 61) problem.w[i] *= 4;  // outliers
    problem.moments = nullptr;
    const auto serial = MakeSerial();
    const double nearest = SumOfPowers(problem, RoundNearest(problem, *serial));
    EXPECT_LT(SumOfPowers(problem, RoundByHqq(problem, *serial)), 0.995 * nearest) << symmetric;
  }
}

TEST(Hqq, KeepsWhatIsExact) {
  for (const bool symmetric : {true, false}) {
    RoundingProblem problem = MakeProblem(1, 16, 16, 4, symmetric);
    problem.moments = nullptr;
    // Every level of the range once: 15 symmetric ones, 16 others.
    for (int i = 0; i < 16; ++i) {
      problem.w[i] = static_cast<float>((symmetric ? i % 15 : i) - 7) * 0.5f;
    }
    problem.clip = Clip::kNone;
    const RoundedRows rounded = RoundByHqq(problem, *MakeSerial());
    EXPECT_NEAR(OutputError(problem, rounded, *MakeSerial()), 0, 1e-10);
  }
}

}  // namespace
}  // namespace lathe::engine
