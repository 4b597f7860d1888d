#include "worker/engine/methods/gptq.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/unit/worker/engine/methods/rounding_problems.h"

namespace lathe::engine {
namespace {

using testing::MakeProblem;
using testing::NaiveError;

// GPTQ as its paper writes it, one column at a time in float64, with the inverse found by
// Gauss-Jordan and its factor by Cholesky. Scales are given.
std::vector<int> NaiveGptq(const RoundingProblem& problem, const std::vector<SetScale>& scales) {
  const int64_t n = problem.length;
  const float* const h = problem.moments->Part(0);
  double mean = 0;
  for (int64_t i = 0; i < n; ++i) mean += h[i * n + i] / static_cast<double>(n);
  std::vector<double> a(n * 2 * n, 0);
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < n; ++j) a[i * 2 * n + j] = h[i * n + j] + (i == j ? 0.01 * mean : 0);
    a[i * 2 * n + n + i] = 1;
  }
  for (int64_t p = 0; p < n; ++p) {
    const double pivot = a[p * 2 * n + p];
    for (int64_t j = 0; j < 2 * n; ++j) a[p * 2 * n + j] /= pivot;
    for (int64_t i = 0; i < n; ++i) {
      const double times = a[i * 2 * n + p];
      if (i == p || times == 0) continue;
      for (int64_t j = 0; j < 2 * n; ++j) a[i * 2 * n + j] -= times * a[p * 2 * n + j];
    }
  }
  std::vector<double> u(n * n, 0);  // upper, inverse = U^T U
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = i; j < n; ++j) {
      double sum = a[i * 2 * n + n + j];
      for (int64_t k = 0; k < i; ++k) sum -= u[k * n + i] * u[k * n + j];
      u[i * n + j] = i == j ? std::sqrt(sum) : sum / u[i * n + i];
    }
  }
  std::vector<int> q(problem.w.size());
  std::vector<double> w(problem.w.begin(), problem.w.end());
  for (int64_t r = 0; r < problem.rows; ++r) {
    for (int64_t j = 0; j < n; ++j) {
      const double s = scales[r * problem.sets_a_row() + j / problem.set_length].scale;
      const double high = HighestInteger(problem.rule);
      const double rounded = std::clamp(std::nearbyint(w[r * n + j] / s), -high, high);
      q[r * n + j] = static_cast<int>(rounded);
      const double e = (w[r * n + j] - rounded * s) / u[j * n + j];
      for (int64_t k = j; k < n; ++k) w[r * n + k] -= e * u[j * n + k];
    }
  }
  return q;
}

TEST(Gptq, RoundsAsThePaperDoesColumnByColumn) {
  // More than one block of columns; a scale a row, so that scales do not move.
  const RoundingProblem problem = MakeProblem(9, 150, 150, 4);
  const auto serial = MakeSerial();
  const auto factors = FactorForGptq(*problem.moments, false);
  ASSERT_TRUE(factors.ok()) << factors.status();
  const RoundedRows rounded = RoundByGptq(problem, *factors, {}, *serial);
  const std::vector<int> expected = NaiveGptq(problem, rounded.scales);
  // A weight that lies within float32's rounding of a tie may go the other way, and move what
  // follows in its row: rows are compared, not elements.
  int same = 0;
  for (int64_t r = 0; r < problem.rows; ++r) {
    bool equal = true;
    for (int64_t j = 0; j < problem.length; ++j) {
      equal &= rounded.q[r * problem.length + j] == expected[r * problem.length + j];
    }
    same += equal;
  }
  EXPECT_GE(same, 7);
}

struct Case {
  const char* name;
  int64_t set_length;
  int bits;
  bool symmetric;
  bool act_order;
  int64_t parts;
  double reach;  // of nearest's squared error
};

class GptqError : public ::testing::TestWithParam<Case> {};

TEST_P(GptqError, IsFarBelowThatOfNearest) {
  const Case& c = GetParam();
  const RoundingProblem problem = MakeProblem(300, 144, c.set_length, c.bits, c.symmetric, c.parts);
  const auto factors = FactorForGptq(*problem.moments, c.act_order);
  ASSERT_TRUE(factors.ok()) << factors.status();
  std::vector<RoundedRows> of_threads;
  for (const int threads : {1, 3}) {
    const auto parallel = MakeThreadPool(threads);
    of_threads.push_back(RoundByGptq(problem, *factors, {}, *parallel));
  }
  EXPECT_EQ(of_threads[0].q, of_threads[1].q);
  const auto serial = MakeSerial();
  const std::vector<float> decoded = DecodeRows(problem, of_threads[0]);
  const double error = OutputError(problem, of_threads[0], *serial);
  // Sums of 144 products in float32.
  EXPECT_NEAR(error, NaiveError(problem, decoded), 1e-4 * error);
  EXPECT_LE(error, c.reach * OutputError(problem, RoundNearest(problem, *serial), *serial));
}

INSTANTIATE_TEST_SUITE_P(All, GptqError,
                         ::testing::Values(Case{"groups", 32, 4, true, false, 1, 0.35},
                                           Case{"last_group_shorter", 64, 4, true, false, 1, 0.35},
                                           Case{"channel", 144, 4, true, false, 1, 0.35},
                                           Case{"asymmetric", 32, 3, false, false, 1, 0.35},
                                           Case{"eight_bits", 144, 8, true, false, 1, 0.35},
                                           Case{"act_order", 32, 4, true, true, 1, 0.35},
                                           Case{"parts", 32, 4, true, false, 3, 0.35}),
                         [](const auto& test) { return test.param.name; });

TEST(Gptq, RoundsInputsThatWereNeverSeenToNearest) {
  RoundingProblem problem = MakeProblem(5, 40, 40, 4);
  auto moments = std::make_shared<InputMoments>(*problem.moments);
  for (const int64_t dead : {0, 13, 39}) {
    for (int64_t k = 0; k < 40; ++k) {
      moments->hessian[dead * 40 + k] = moments->hessian[k * 40 + dead] = 0;
    }
  }
  problem.moments = moments;
  const auto serial = MakeSerial();
  const auto factors = FactorForGptq(*problem.moments, false);
  ASSERT_TRUE(factors.ok()) << factors.status();
  const RoundedRows rounded = RoundByGptq(problem, *factors, {}, *serial);
  const RoundedRows nearest = RoundNearest(problem, *serial);
  for (int64_t r = 0; r < 5; ++r) {
    for (const int64_t dead : {0, 13, 39}) {
      EXPECT_EQ(rounded.q[r * 40 + dead], nearest.q[r * 40 + dead]) << r << " " << dead;
    }
  }
}

TEST(Gptq, TakesFactorsFoundBeforeInputsWereScaled) {
  const RoundingProblem plain = MakeProblem(20, 64, 64, 4);
  std::vector<float> divisors;
  for (int64_t j = 0; j < 64; ++j) divisors.push_back(j % 2 == 0 ? 0.5f : 2.0f);
  const RoundingProblem scaled = Divided(plain, divisors);
  const auto serial = MakeSerial();
  const auto factors = FactorForGptq(*plain.moments, false);
  ASSERT_TRUE(factors.ok()) << factors.status();
  const RoundedRows rounded = RoundByGptq(scaled, *factors, divisors, *serial);
  std::vector<float> decoded = DecodeRows(scaled, rounded);
  for (size_t i = 0; i < decoded.size(); ++i) decoded[i] *= divisors[i % 64];
  // The scaled problem's error is the plain one's.
  EXPECT_NEAR(OutputError(scaled, rounded, *serial), NaiveError(plain, decoded),
              1e-4 * NaiveError(plain, decoded));
  EXPECT_LE(NaiveError(plain, decoded),
            0.35 * OutputError(scaled, RoundNearest(scaled, *serial), *serial));
}

}  // namespace
}  // namespace lathe::engine
