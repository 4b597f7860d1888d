#include "worker/engine/methods/awq.h"

#include <gtest/gtest.h>

#include "tests/unit/worker/engine/methods/rounding_problems.h"

namespace lathe::engine {
namespace {

using testing::MakeProblem;

// Independent inputs, of which every eighth is 30 times as large.
RoundingProblem WithLoudInputs(int64_t rows, int64_t length) {
  RoundingProblem problem = MakeProblem(rows, length, 32, 4);
  auto moments = std::make_shared<InputMoments>(*problem.moments);
  for (int64_t i = 0; i < length; ++i) {
    const float size = i % 8 == 0 ? 30.0f : 1.0f;
    for (int64_t j = 0; j < length; ++j) {
      moments->hessian[i * length + j] = i == j ? 2 * size * size : 0.0f;
    }
    moments->mean_abs[i] = size;
  }
  problem.moments = moments;
  return problem;
}

TEST(Awq, GivesLoudInputsFinerSteps) {
  const RoundingProblem problem = WithLoudInputs(40, 64);
  const auto serial = MakeSerial();
  const std::vector<float> scales = FindAwqScales(problem, 64, *serial);
  ASSERT_EQ(scales.size(), 64u);
  EXPECT_LT(scales[8], scales[1]);
  EXPECT_FLOAT_EQ(scales[8], scales[16]);
  const RoundingProblem scaled = Divided(problem, scales);
  // Steps of loud inputs become finer by more than a group's range grows: with the best power, by
  // some fifth at least, which is a third of the squared error.
  EXPECT_LE(OutputError(scaled, RoundNearest(scaled, *serial), *serial),
            0.67 * OutputError(problem, RoundNearest(problem, *serial), *serial));
}

TEST(Awq, ScalesRunsOfColumnsTogether) {
  const RoundingProblem problem = WithLoudInputs(40, 64);
  EXPECT_EQ(FindAwqScales(problem, 8, *MakeSerial()).size() % 8, 0u);
}

TEST(Awq, LeavesInputsAloneThatSayNothing) {
  RoundingProblem problem = MakeProblem(4, 16, 16, 4);
  auto moments = std::make_shared<InputMoments>(*problem.moments);
  std::fill(moments->hessian.begin(), moments->hessian.end(), 0.0f);
  std::fill(moments->mean_abs.begin(), moments->mean_abs.end(), 0.0f);
  problem.moments = moments;
  EXPECT_TRUE(FindAwqScales(problem, 16, *MakeSerial()).empty());
}

}  // namespace
}  // namespace lathe::engine
