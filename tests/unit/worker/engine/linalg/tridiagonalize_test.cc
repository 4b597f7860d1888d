#include "worker/engine/linalg/tridiagonalize.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "worker/engine/linalg/lapack.h"
#include "worker/engine/linalg/randomized_range.h"
#include "worker/engine/linalg/symmetric_product.h"

namespace lathe::engine {
namespace {

// Symmetric, both triangles, of elements around 1.
std::vector<float> Symmetric(int n, uint64_t seed) {
  std::vector<float> a(static_cast<size_t>(n) * n);
  for (int j = 0; j < n; ++j) {
    for (int i = j; i < n; ++i) {
      a[static_cast<size_t>(j) * n + i] = a[static_cast<size_t>(i) * n + j] =
          BinomialNormal(seed, static_cast<uint64_t>(j) * n + i);
    }
  }
  return a;
}

TEST(SymmetricProduct, ReadsTheLowerTriangleAlone) {
  for (const int n : {1, 3, 4, 7, 64, 255, 256, 257, 600}) {
    const int lda = n + 3;
    const std::vector<float> full = Symmetric(n, 1);
    std::vector<float> lower(static_cast<size_t>(lda) * n, NAN);
    std::vector<float> x(n);
    for (int j = 0; j < n; ++j) {
      x[j] = BinomialNormal(2, j);
      for (int i = j; i < n; ++i) {
        lower[static_cast<size_t>(j) * lda + i] = full[static_cast<size_t>(j) * n + i];
      }
    }
    std::vector<float> scratch;
    std::vector<float> first;
    for (const int threads : {1, 2, 5}) {
      const auto parallel = MakeThreadPool(threads);
      std::vector<float> y(n, NAN);
      SymmetricProduct(n, lower.data(), lda, x.data(), y.data(), scratch, *parallel);
      for (int i = 0; i < n; ++i) {
        double sum = 0;
        for (int j = 0; j < n; ++j) sum += static_cast<double>(full[i * n + j]) * x[j];
        // n terms of size 1, rounded to eps = 1.2e-7: sqrt(n) eps times the sum's size, sqrt(n).
        ASSERT_NEAR(y[i], sum, 2.4e-7 * n + 1e-6) << n << ", " << i;
      }
      if (first.empty()) first = y;
      EXPECT_TRUE(first == y);
    }
  }
}

TEST(Tridiagonalize, GivesLapacksMatrixAndTheSameBitsForAnyNumberOfThreads) {
  for (const int n : {1, 2, 511, 513, 700, 1100}) {
    const std::vector<float> a = Symmetric(n, 3);
    std::vector<double> wide(a.begin(), a.end());
    std::vector<double> reference(n);
    std::vector<double> off(n);
    std::vector<double> wide_tau(n);
    lapack::UseOneBlasThread();
    ASSERT_EQ(
        lapack::Tridiagonalize(n, wide.data(), n, reference.data(), off.data(), wide_tau.data()),
        0);
    ASSERT_EQ(lapack::TridiagonalEigenvalues(n, reference.data(), off.data()), 0);
    std::vector<float> first;
    for (const int threads : {1, 2, 5}) {
      const auto parallel = MakeThreadPool(threads);
      std::vector<float> own = a;
      std::vector<float> d(n);
      std::vector<float> e(n);
      std::vector<float> tau(n);
      ASSERT_EQ(Tridiagonalize(n, own.data(), d.data(), e.data(), tau.data(), *parallel), 0);
      std::vector<double> values(d.begin(), d.end());
      std::vector<double> scratch(e.begin(), e.end());
      ASSERT_EQ(lapack::TridiagonalEigenvalues(n, values.data(), scratch.data()), 0);
      // Backward stable: eigenvalues move by a few eps of the largest, 2 sqrt(n).
      for (int i = 0; i < n; ++i) {
        ASSERT_NEAR(values[i], reference[i], 5e-6 * std::sqrt(static_cast<double>(n)) + 1e-6) << n;
      }
      // Q T Q^T = A, on one column: Q from LAPACK's reading of the reflectors.
      std::vector<float> tridiagonal(static_cast<size_t>(n) * n, 0.0f);
      for (int i = 0; i < n; ++i) {
        tridiagonal[static_cast<size_t>(i) * n + i] = d[i];
        if (i + 1 < n) {
          tridiagonal[static_cast<size_t>(i) * n + i + 1] = e[i];
          tridiagonal[static_cast<size_t>(i + 1) * n + i] = e[i];
        }
      }
      std::vector<float> identity(static_cast<size_t>(n) * n, 0.0f);
      for (int i = 0; i < n; ++i) identity[static_cast<size_t>(i) * n + i] = 1;
      ASSERT_EQ(lapack::ApplyReflectors(n, n, own.data(), tau.data(), identity.data()), 0);
      ASSERT_EQ(lapack::ApplyReflectors(n, n, own.data(), tau.data(), tridiagonal.data()), 0);
      for (int i = 0; i < n; i += 97) {  // (Q T) Q^T, column 0 of A and some rows
        double sum = 0;
        for (int k = 0; k < n; ++k) {
          sum += static_cast<double>(tridiagonal[static_cast<size_t>(k) * n + i]) *
                 identity[static_cast<size_t>(k) * n + n / 2];
        }
        ASSERT_NEAR(sum, a[static_cast<size_t>(n / 2) * n + i], 1e-4) << n << ", " << i;
      }
      if (first.empty()) first = own;
      EXPECT_TRUE(first == own) << n << ", threads " << threads;
    }
  }
}

}  // namespace
}  // namespace lathe::engine
