#include "worker/engine/linalg/inverse_factor.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "worker/engine/linalg/products.h"
#include "worker/engine/linalg/randomized_range.h"

namespace lathe::engine {
namespace {

// X^T X / rows of mixed columns, in float64 and as float32.
std::vector<float> Correlated(int64_t n, int64_t rows) {
  std::vector<float> x(rows * n);
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      x[i * n + j] = 0.3f * BinomialNormal(1, i * n + j) + BinomialNormal(2, i * 4 + j % 4);
    }
  }
  std::vector<float> h(n * n, 0.0f);
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      double sum = 0;
      for (int64_t r = 0; r < rows; ++r) sum += static_cast<double>(x[r * n + i]) * x[r * n + j];
      h[i * n + j] = static_cast<float>(sum / static_cast<double>(rows));
    }
  }
  return h;
}

// The largest element of (U^T U)(H + damping mean I) - I.
double Residual(int64_t n, const std::vector<float>& h, const InverseFactor& factor) {
  double mean = 0;
  for (int64_t i = 0; i < n; ++i) mean += h[i * n + i] / static_cast<double>(n);
  std::vector<double> a(h.begin(), h.end());
  for (int64_t i = 0; i < n; ++i) {
    if (a[i * n + i] == 0) a[i * n + i] = 1;
    a[i * n + i] += factor.damping * mean;
  }
  double worst = 0;
  for (int64_t i = 0; i < n; ++i) {
    std::vector<double> row(n, 0);
    for (int64_t k = 0; k < n; ++k) {
      double inverse = 0;
      for (int64_t l = 0; l < n; ++l) {
        inverse += static_cast<double>(factor.u[l * n + i]) * factor.u[l * n + k];
      }
      for (int64_t j = 0; j < n; ++j) row[j] += inverse * a[k * n + j];
    }
    for (int64_t j = 0; j < n; ++j) worst = std::max(worst, std::abs(row[j] - (i == j ? 1 : 0)));
  }
  return worst;
}

TEST(FactorInverse, GivesAnUpperFactorOfTheInverse) {
  for (const int64_t n : {1, 2, 37, 90}) {
    const std::vector<float> h = Correlated(n, 300);
    const auto factor = FactorInverse(n, h.data(), 0.01);
    ASSERT_TRUE(factor.ok()) << factor.status();
    EXPECT_EQ(factor->damping, 0.01);
    for (int64_t i = 0; i < n; ++i) {
      for (int64_t j = 0; j < i; ++j) EXPECT_EQ(factor->u[i * n + j], 0.0f);
    }
    // U is rounded to float32 (6e-8); H + 0.01 mean I has a condition of at most 100 n.
    EXPECT_LE(Residual(n, h, *factor), 6e-8 * 100 * static_cast<double>(n * n) + 1e-6) << n;
  }
}

TEST(FactorInverse, TakesFewExamplesAndInputsThatAreAlwaysZero) {
  std::vector<float> h = Correlated(40, 3);  // of rank 3
  for (int64_t i = 0; i < 40; ++i) h[7 * 40 + i] = h[i * 40 + 7] = 0;
  const auto factor = FactorInverse(40, h.data(), 0.01);
  ASSERT_TRUE(factor.ok()) << factor.status();
  EXPECT_LE(Residual(40, h, *factor), 0.1);
  for (int64_t j = 8; j < 40; ++j) EXPECT_EQ(factor->u[7 * 40 + j], 0.0f);
  const std::vector<float> zeros(16, 0.0f);
  EXPECT_TRUE(FactorInverse(4, zeros.data(), 0.01).ok());
}

TEST(FactorInverse, AddsMoreWhereThatIsNotDefinite) {
  // Eigenvalues 1.05 and -0.05 for each pair: 0.1 of the mean diagonal (0.5) makes up for it.
  const std::vector<float> h = {0.5f, 0.55f, 0.55f, 0.5f};
  const auto factor = FactorInverse(2, h.data(), 0.02);
  ASSERT_TRUE(factor.ok()) << factor.status();
  EXPECT_NEAR(factor->damping, 0.2, 1e-12);
}

TEST(FactorInverse, RefusesWhatNothingMakesDefinite) {
  const std::vector<float> far = {1, 50, 50, 1};
  EXPECT_EQ(FactorInverse(2, far.data(), 0.01).status().code(), absl::StatusCode::kInvalidArgument);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<float> bad = {nan, 0, 0, 1};
  EXPECT_EQ(FactorInverse(2, bad.data(), 0.01).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(AddGram, StreamsToTheMeanOfAllRows) {
  constexpr int64_t kN = 600;  // more than one tile
  constexpr int64_t kRows[] = {5, 1, 17};
  std::vector<float> h(kN * kN, -1.0f);
  std::vector<double> reference(kN * kN, 0);
  std::vector<std::vector<float>> of_threads;
  for (const int threads : {1, 3}) {
    const auto parallel = MakeThreadPool(threads);
    std::fill(h.begin(), h.end(), -1.0f);
    std::fill(reference.begin(), reference.end(), 0);
    int64_t seen = 0;
    for (const int64_t rows : kRows) {
      std::vector<float> x(rows * kN);
      for (size_t i = 0; i < x.size(); ++i) x[i] = BinomialNormal(seen, i);
      const double after = static_cast<double>(seen + rows);
      AddGram(rows, kN, static_cast<float>(2 / after), x.data(),
              static_cast<float>(static_cast<double>(seen) / after), h.data(), *parallel);
      for (int64_t i = 0; i < kN; ++i) {
        for (int64_t j = 0; j < kN; ++j) {
          for (int64_t r = 0; r < rows; ++r) {
            reference[i * kN + j] += 2.0 * x[r * kN + i] * x[r * kN + j];
          }
        }
      }
      seen += rows;
    }
    MirrorUpper(kN, h.data());
    // 23 products of about 10 each, summed in float32 and scaled three times: 30 roundings of 6e-8.
    for (int64_t i = 0; i < kN * kN; ++i) {
      ASSERT_NEAR(h[i], reference[i] / 23.0, 30 * 6e-8 * 20) << i;
    }
    of_threads.push_back(h);
  }
  EXPECT_EQ(of_threads[0], of_threads[1]);
}

}  // namespace
}  // namespace lathe::engine
