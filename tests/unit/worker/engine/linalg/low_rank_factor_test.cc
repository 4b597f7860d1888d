#include "worker/engine/linalg/low_rank_factor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "worker/engine/linalg/exact_svd.h"
#include "worker/engine/linalg/randomized_range.h"

namespace lathe::engine {
namespace {

using ::testing::HasSubstr;

// Four sums, so that the compiler may overlap them.
double Dot(const std::vector<double>& x, const std::vector<double>& y) {
  double sums[4] = {};
  size_t i = 0;
  for (; i + 4 <= x.size(); i += 4) {
    for (size_t j = 0; j < 4; ++j) sums[j] += x[i + j] * y[i + j];
  }
  for (; i < x.size(); ++i) sums[0] += x[i] * y[i];
  return sums[0] + sums[1] + sums[2] + sums[3];
}

// Singular values, falling, by one-sided Jacobi in float64: plain, slow, and exact to 1e-14.
std::vector<double> Reference(int64_t m, int64_t n, const std::vector<float>& a) {
  const bool transpose = m < n;
  const int64_t rows = std::max(m, n);
  const int64_t columns = std::min(m, n);
  std::vector<std::vector<double>> v(columns, std::vector<double>(rows));
  for (int64_t j = 0; j < columns; ++j) {
    for (int64_t i = 0; i < rows; ++i) v[j][i] = transpose ? a[j * n + i] : a[i * n + j];
  }
  for (int sweep = 0; sweep < 60; ++sweep) {
    double worst = 0;
    std::vector<double> squares;
    for (const auto& x : v) squares.push_back(Dot(x, x));
    for (int64_t p = 0; p < columns; ++p) {
      for (int64_t q = p + 1; q < columns; ++q) {
        const double pq = Dot(v[p], v[q]);
        const double scale = std::sqrt(squares[p] * squares[q]);
        if (std::fabs(pq) <= 1e-16 * scale || scale == 0) continue;
        worst = std::max(worst, std::fabs(pq) / scale);
        const double tau = (squares[q] - squares[p]) / (2 * pq);
        const double t = std::copysign(1.0, tau) / (std::fabs(tau) + std::sqrt(1 + tau * tau));
        const double c = 1 / std::sqrt(1 + t * t);
        const double s = c * t;
        for (int64_t i = 0; i < rows; ++i) {
          const double x = v[p][i];
          v[p][i] = c * x - s * v[q][i];
          v[q][i] = s * x + c * v[q][i];
        }
        squares[p] -= t * pq;
        squares[q] += t * pq;
      }
    }
    if (worst < 1e-12) break;
  }
  std::vector<double> sigma;
  for (const auto& column : v) {
    sigma.push_back(std::sqrt(Dot(column, column)));
  }
  std::sort(sigma.rbegin(), sigma.rend());
  return sigma;
}

std::vector<float> Random(int64_t m, int64_t n, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<float> a(m * n);
  for (float& value : a) value = static_cast<float>(random() % 20001) / 10000 - 1;
  return a;
}

// sum_i decay^i x_i y_i^T with random x and y: a spectrum that falls as trained weights' do.
std::vector<float> Decaying(int64_t m, int64_t n, double decay, int64_t terms, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<double> sum(m * n, 0.0);
  double weight = 1;
  for (int64_t t = 0; t < terms; ++t, weight *= decay) {
    std::vector<double> x(m);
    std::vector<double> y(n);
    for (double& value : x) value = static_cast<double>(random() % 2001) / 1000 - 1;
    for (double& value : y) value = static_cast<double>(random() % 2001) / 1000 - 1;
    for (int64_t i = 0; i < m; ++i) {
      for (int64_t j = 0; j < n; ++j) sum[i * n + j] += weight * x[i] * y[j];
    }
  }
  return {sum.begin(), sum.end()};
}

// norm(a - u diag(s) vt) / norm(a) in float64.
double Residual(int64_t m, int64_t n, const std::vector<float>& a, const LowRankFactors& f) {
  double change = 0;
  double norm = 0;
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      double value = 0;
      for (int64_t r = 0; r < f.rank; ++r) {
        value += static_cast<double>(f.u[i * f.rank + r]) * f.s[r] * f.vt[r * n + j];
      }
      change += std::pow(a[i * n + j] - value, 2);
      norm += std::pow(static_cast<double>(a[i * n + j]), 2);
    }
  }
  return norm == 0 ? 0 : std::sqrt(change / norm);
}

double Orthogonality(int64_t length, int64_t stride, int64_t step, int64_t count,
                     const std::vector<float>& v) {
  double worst = 0;
  for (int64_t p = 0; p < count; ++p) {
    for (int64_t q = p; q < count; ++q) {
      double sum = 0;
      for (int64_t i = 0; i < length; ++i) {
        sum += static_cast<double>(v[p * stride + i * step]) * v[q * stride + i * step];
      }
      worst = std::max(worst, std::fabs(sum - (p == q ? 1 : 0)));
    }
  }
  return worst;
}

double Best(const std::vector<double>& sigma, int64_t rank) {
  double tail = 0;
  double total = 0;
  for (size_t i = 0; i < sigma.size(); ++i) {
    total += sigma[i] * sigma[i];
    if (static_cast<int64_t>(i) >= rank) tail += sigma[i] * sigma[i];
  }
  return std::sqrt(tail / total);
}

LowRankFactors Factor(int64_t m, int64_t n, const std::vector<float>& a, LowRankRequest request,
                      int threads = 1) {
  const auto parallel = MakeThreadPool(threads);
  absl::StatusOr<LowRankFactors> factors = FactorLowRank(m, n, a, request, *parallel);
  EXPECT_TRUE(factors.ok()) << factors.status();
  return factors.ok() ? *std::move(factors) : LowRankFactors();
}

struct ShapeCase {
  const char* name;
  int64_t m;
  int64_t n;
  std::vector<float> a;
};

std::vector<ShapeCase> Shapes() {
  std::vector<ShapeCase> shapes = {
      {"square", 40, 40, Random(40, 40, 1)},
      {"tall", 90, 25, Random(90, 25, 2)},
      {"wide", 20, 110, Random(20, 110, 3)},
      {"row", 1, 30, Random(1, 30, 4)},
      {"column", 30, 1, Random(30, 1, 5)},
      {"one", 1, 1, {-3.0f}},
      {"falling", 60, 50, Decaying(60, 50, 0.7, 40, 6)},
      {"falling, past 256", 260, 270, Decaying(260, 270, 0.95, 60, 7)},
      {"past 256", 270, 258, Random(270, 258, 8)},
      {"deficient", 50, 60, Decaying(50, 60, 0.9, 7, 9)},
      {"deficient, past 256", 260, 265, Decaying(260, 265, 0.9, 7, 10)},
  };
  std::vector<float> repeated(30 * 30, 0.0f);  // all singular values equal
  for (int64_t i = 0; i < 30; ++i) repeated[i * 30 + (i * 7) % 30] = 2.0f;
  shapes.push_back({"permutation", 30, 30, repeated});
  return shapes;
}

TEST(FactorLowRank, ExactMatchesJacobiOnEveryShapeAndRank) {
  for (const ShapeCase& shape : Shapes()) {
    const std::vector<double> sigma = Reference(shape.m, shape.n, shape.a);
    const int64_t k = std::min(shape.m, shape.n);
    for (const int64_t rank : {int64_t{1}, (k + 2) / 3, k}) {
      SCOPED_TRACE(std::string(shape.name) + " rank " + std::to_string(rank));
      const LowRankFactors f =
          Factor(shape.m, shape.n, shape.a, {.rank = rank, .algorithm = SvdAlgorithm::kExact});
      ASSERT_EQ(f.rank, rank);
      // Products of length max(m, n) <= 330 in float32: error <= sqrt(330) eps ~ 1e-6 of sigma_1.
      for (int64_t i = 0; i < rank; ++i) EXPECT_NEAR(f.s[i], sigma[i], 4e-6 * sigma[0]);
      const double best = Best(sigma, rank);
      // A difference of 1e-2 or more of the whole, good to 1e-6: 1e-4 of the share, 5e-5 of its
      // root.
      EXPECT_NEAR(f.relative_residual, best, 2e-6 + 5e-5 * best);
      EXPECT_NEAR(Residual(shape.m, shape.n, shape.a, f), f.relative_residual, 2e-6 + 5e-5 * best);
      if (sigma[rank - 1] > 1e-3 * sigma[0]) {
        // The side of the Gram matrix is orthogonal to rounding; the other side is its image, whose
        // columns lean by the Gram matrix's error, sqrt(270) eps / 2 = 1e-6, times
        // (sigma_1 / sigma_r)^2.
        const double lean = 1e-5 + 1e-6 * std::pow(sigma[0] / sigma[rank - 1], 2);
        const bool left = shape.m <= shape.n;
        EXPECT_LT(Orthogonality(shape.m, 1, rank, rank, f.u), left ? 1e-5 : lean);
        EXPECT_LT(Orthogonality(shape.n, shape.n, 1, rank, f.vt), left ? lean : 1e-5);
      }
    }
  }
}

TEST(FactorLowRank, EnergyGivesTheLeastRankThatReachesIt) {
  for (const ShapeCase& shape : Shapes()) {
    const std::vector<double> sigma = Reference(shape.m, shape.n, shape.a);
    for (const double energy : {0.3, 0.9, 0.99, 0.999}) {
      SCOPED_TRACE(std::string(shape.name) + " energy " + std::to_string(energy));
      const LowRankFactors f =
          Factor(shape.m, shape.n, shape.a, {.energy = energy, .algorithm = SvdAlgorithm::kExact});
      EXPECT_LE(std::pow(Best(sigma, f.rank), 2), 1 - energy + 1e-7);
      if (f.rank > 1) {
        EXPECT_GT(std::pow(Best(sigma, f.rank - 1), 2), 1 - energy - 1e-7);
      }
    }
  }
}

TEST(FactorLowRank, EnergyOneKeepsTheRankOfADeficientMatrix) {
  const std::vector<float> a = Decaying(280, 300, 0.9, 7, 10);
  // The terms were summed in float64 and rounded to float32, which adds directions of 1e-8 each.
  const LowRankFactors f = Factor(280, 300, a, {.energy = 1 - 1e-9});
  EXPECT_EQ(f.rank, 7);
  EXPECT_EQ(f.algorithm, "exact, float64");
  EXPECT_LT(f.relative_residual, 1e-6);
}

TEST(FactorLowRank, SmallSingularValuesAreFoundInFloat64) {
  const int64_t n = 260;
  const std::vector<float> a = Decaying(n, n, 0.9, 120, 11);  // down to 0.9^119 = 3.6e-6
  const std::vector<double> sigma = Reference(n, n, a);
  const LowRankFactors f = Factor(n, n, a, {.rank = 100, .algorithm = SvdAlgorithm::kExact});
  EXPECT_EQ(f.algorithm, "exact, float64");
  ASSERT_LT(sigma[99], 1e-4 * sigma[0]);
  EXPECT_NEAR(f.s[99] / sigma[99], 1, 0.01);
  EXPECT_NEAR(f.relative_residual / Best(sigma, 100), 1, 0.05);
}

TEST(FactorLowRank, ZeroMatrixHasRankZero) {
  const std::vector<float> a(12, 0.0f);
  for (const SvdAlgorithm algorithm :
       {SvdAlgorithm::kAuto, SvdAlgorithm::kExact, SvdAlgorithm::kRandomized}) {
    const LowRankFactors f = Factor(3, 4, a, {.energy = 0.9, .algorithm = algorithm});
    EXPECT_EQ(f.rank, 0);
    EXPECT_TRUE(f.complete);
    EXPECT_EQ(f.relative_residual, 0);
  }
}

TEST(FactorLowRank, ScaleDoesNotMatter) {
  const std::vector<float> a = Decaying(40, 30, 0.8, 30, 12);
  const LowRankFactors plain = Factor(40, 30, a, {.rank = 5});
  for (const int exponent : {-100, 100}) {
    std::vector<float> scaled = a;
    for (float& value : scaled) value = std::ldexp(value, exponent);
    const LowRankFactors f = Factor(40, 30, scaled, {.rank = 5});
    EXPECT_NEAR(f.relative_residual, plain.relative_residual, 1e-7);
    for (int i = 0; i < 5; ++i) {
      EXPECT_NEAR(std::ldexp(f.s[i], -exponent) / plain.s[i], 1, 1e-5);
    }
  }
}

TEST(FactorLowRank, StopsAtTheLargestUsefulRank) {
  const std::vector<float> a = Random(300, 300, 13);
  for (const SvdAlgorithm algorithm : {SvdAlgorithm::kAuto, SvdAlgorithm::kExact}) {
    const LowRankFactors f =
        Factor(300, 300, a, {.energy = 0.99, .max_rank = 149, .algorithm = algorithm});
    EXPECT_FALSE(f.complete);
    EXPECT_GT(f.rank, 200);  // a random matrix has no small singular values to speak of
    EXPECT_TRUE(f.u.empty());
  }
  const LowRankFactors random = Factor(
      300, 300, a, {.energy = 0.99, .max_rank = 149, .algorithm = SvdAlgorithm::kRandomized});
  EXPECT_FALSE(random.complete);
  EXPECT_GT(random.rank, 149);
  EXPECT_FALSE(Factor(300, 300, a, {.rank = 150, .max_rank = 149}).complete);
  EXPECT_TRUE(Factor(300, 300, a, {.rank = 149, .max_rank = 149}).complete);
}

TEST(FactorLowRank, RandomizedIsWithinOnePercentOfTheBest) {
  struct Case {
    int64_t m;
    int64_t n;
    double decay;
    int64_t rank;
  };
  for (const Case& c : {Case{200, 200, 0.97, 20}, Case{300, 120, 0.9, 12}, Case{100, 300, 0.99, 30},
                        Case{200, 150, 0.5, 40}, Case{30, 30, 0.9, 30}}) {
    const std::vector<float> a = Decaying(c.m, c.n, c.decay, std::min(c.m, c.n), 14);
    const std::vector<double> sigma = Reference(c.m, c.n, a);
    const LowRankFactors f =
        Factor(c.m, c.n, a, {.rank = c.rank, .algorithm = SvdAlgorithm::kRandomized, .seed = 3});
    SCOPED_TRACE(std::to_string(c.m) + " x " + std::to_string(c.n));
    EXPECT_LE(f.rank, c.rank);
    // Products of up to 400 terms in float32 leave 2e-6 of the norm.
    EXPECT_LE(f.relative_residual, 1.01 * Best(sigma, c.rank) + 2e-6);
    EXPECT_GE(f.relative_residual, Best(sigma, c.rank) - 1e-6);
    EXPECT_NEAR(Residual(c.m, c.n, a, f), f.relative_residual, 2e-6 + 5e-5 * f.relative_residual);
    EXPECT_EQ(f.algorithm, "randomized");
  }
}

TEST(FactorLowRank, RandomizedMeetsAnEnergyByGrowing) {
  const int64_t n = 200;
  const std::vector<float> a = Decaying(n, n, 0.985, 200, 15);
  const std::vector<double> sigma = Reference(n, n, a);
  for (const double energy : {0.5, 0.9, 0.99, 0.999}) {
    int64_t least = 1;
    while (std::pow(Best(sigma, least), 2) > 1 - energy) ++least;
    const LowRankFactors f =
        Factor(n, n, a, {.energy = energy, .algorithm = SvdAlgorithm::kRandomized});
    EXPECT_LE(std::pow(f.relative_residual, 2), 1 - energy + 1e-6) << energy;
    EXPECT_GE(f.rank, least);
    EXPECT_LE(f.rank, least + 1 + least / 20) << energy;
  }
}

TEST(FactorLowRank, RandomizedFindsTheRankOfADeficientMatrix) {
  const std::vector<float> a = Decaying(200, 220, 0.9, 7, 16);
  const LowRankFactors f =
      Factor(200, 220, a, {.rank = 50, .algorithm = SvdAlgorithm::kRandomized});
  EXPECT_LT(f.relative_residual, 2e-6);
  EXPECT_LE(f.rank, 50);
  EXPECT_GE(f.rank, 7);
}

TEST(FactorLowRank, ThreadsDoNotChangeABit) {
  const std::vector<float> a = Decaying(1100, 700, 0.99, 100, 17);
  for (const SvdAlgorithm algorithm : {SvdAlgorithm::kExact, SvdAlgorithm::kRandomized}) {
    const LowRankRequest request = {.energy = 0.9, .algorithm = algorithm, .seed = 5};
    const LowRankFactors one = Factor(1100, 700, a, request, 1);
    for (const int threads : {2, 5}) {
      const LowRankFactors more = Factor(1100, 700, a, request, threads);
      EXPECT_EQ(one.rank, more.rank);
      EXPECT_TRUE(one.u == more.u);
      EXPECT_TRUE(one.s == more.s);
      EXPECT_TRUE(one.vt == more.vt);
      EXPECT_EQ(one.relative_residual, more.relative_residual);
    }
  }
}

TEST(FactorLowRank, TheLargestEntryOfEachColumnIsPositive) {
  for (const ShapeCase& shape : Shapes()) {
    const LowRankFactors f = Factor(shape.m, shape.n, shape.a, {.rank = 5});
    for (int64_t r = 0; r < f.rank; ++r) {
      float peak = 0;
      for (int64_t i = 0; i < shape.m; ++i) {
        const float value = f.u[i * f.rank + r];
        if (std::fabs(value) > std::fabs(peak)) peak = value;
      }
      EXPECT_GE(peak, 0) << shape.name;
    }
  }
}

TEST(ExactFactors, RefusesAGramMatrixThatWouldNotFit) {
  const Matrix matrix{kMaxExactSide + 1, kMaxExactSide + 1, nullptr, 1.0};
  const auto parallel = MakeSerial();
  const auto factors = ExactFactors(matrix, {.rank = 1}, *parallel);
  EXPECT_EQ(factors.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(factors.status().message()), HasSubstr("randomized"));
}

TEST(RankForParameterRatio, IsTheRankThatUsesThatShare) {
  EXPECT_EQ(RankForParameterRatio(100, 100, 0.5), 25);
  EXPECT_EQ(RankForParameterRatio(10, 10, 0.2), 1);
  EXPECT_EQ(RankForParameterRatio(768, 3072, 0.3), 184);
  EXPECT_EQ(RankForParameterRatio(4, 4, 0.01), 1);
}

TEST(LargestUsefulRank, IsTheLastThatCostsLess) {
  for (const auto& [m, n] :
       {std::pair<int64_t, int64_t>{4, 4}, {1, 50}, {64, 256}, {7, 9}, {2, 2}}) {
    const int64_t rank = LargestUsefulRank(m, n);
    EXPECT_LT(rank * (m + n), m * n);
    EXPECT_GE((rank + 1) * (m + n), m * n);
  }
}

TEST(BinomialNormal, HasMeanZeroAndVarianceOneAndFixedBits) {
  double sum = 0;
  double squares = 0;
  constexpr int kCount = 100000;
  for (int i = 0; i < kCount; ++i) {
    const double value = BinomialNormal(1, i);
    sum += value;
    squares += value * value;
  }
  EXPECT_NEAR(sum / kCount, 0, 4 / std::sqrt(kCount));
  EXPECT_NEAR(squares / kCount, 1, 4 * std::sqrt(2.0 / kCount));
  EXPECT_EQ(BinomialNormal(7, 3), BinomialNormal(7, 3));
  int differ = 0;
  for (int i = 0; i < 100; ++i) differ += BinomialNormal(1, i) != BinomialNormal(2, i) ? 1 : 0;
  EXPECT_GT(differ, 70);
}

TEST(Orthonormalize, DropsDependentColumns) {
  // Columns: x, y, x + y, 0, z.
  std::vector<float> y(50 * 5);
  std::mt19937 random(18);
  for (int i = 0; i < 50; ++i) {
    const float a = static_cast<float>(random() % 100) / 64;
    const float b = static_cast<float>(random() % 100) / 64;
    const float c = static_cast<float>(random() % 100) / 4096;
    const float row[] = {a, b, a + b, 0, c};
    std::copy_n(row, 5, y.data() + i * 5);
  }
  const auto parallel = MakeSerial();
  const auto count = Orthonormalize(50, 5, y, 2, *parallel);
  ASSERT_TRUE(count.ok());
  ASSERT_EQ(*count, 3);
  EXPECT_LT(Orthogonality(50, 1, 3, 3, y), 1e-6);
}

}  // namespace
}  // namespace lathe::engine
