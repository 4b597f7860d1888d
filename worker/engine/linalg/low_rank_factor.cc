#include "worker/engine/linalg/low_rank_factor.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/engine/linalg/exact_svd.h"
#include "worker/engine/linalg/lapack.h"
#include "worker/engine/linalg/products.h"
#include "worker/engine/linalg/randomized_range.h"

namespace lathe::engine {
namespace {

constexpr int64_t kAlwaysExactSide = 1500;
constexpr double kRandomizedShare = 0.1;

// Sums of squares of floats, and what the eigensolver makes of them, neither overflow nor vanish
// when the largest magnitude lies between these.
constexpr float kSmallest = 1e-4f;
constexpr float kLargest = 1e4f;

// The power of two that brings the largest magnitude near 1; 1 when it is in range already.
float Scale(std::span<const float> a) {
  float largest = 0;
  for (const float value : a) largest = std::max(largest, std::fabs(value));
  if (largest == 0 || (largest >= kSmallest && largest <= kLargest)) return 1;
  int exponent = 0;
  std::frexp(largest, &exponent);
  return std::ldexp(1.0f, std::clamp(-exponent, -126, 126));
}

// Makes the first of the largest magnitudes of each column of u positive.
void FixSigns(int64_t m, int64_t n, LowRankFactors& factors) {
  const int64_t r = factors.rank;
  std::vector<float> peak(static_cast<size_t>(r), 0.0f);
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < r; ++j) {
      const float value = factors.u[static_cast<size_t>(i * r + j)];
      if (std::fabs(value) > std::fabs(peak[static_cast<size_t>(j)])) {
        peak[static_cast<size_t>(j)] = value;
      }
    }
  }
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < r; ++j) {
      if (peak[static_cast<size_t>(j)] < 0) {
        float& value = factors.u[static_cast<size_t>(i * r + j)];
        value = -value;
      }
    }
  }
  for (int64_t j = 0; j < r; ++j) {
    if (peak[static_cast<size_t>(j)] >= 0) continue;
    for (int64_t i = 0; i < n; ++i) {
      float& value = factors.vt[static_cast<size_t>(j * n + i)];
      value = -value;
    }
  }
}

absl::StatusOr<LowRankFactors> Solve(int64_t m, int64_t n, const float* a, double squared_norm,
                                     const LowRankRequest& request, Parallel& parallel) {
  const int64_t k = std::min(m, n);
  const int64_t affordable = static_cast<int64_t>(kRandomizedShare * static_cast<double>(k));
  const Matrix matrix{m, n, a, squared_norm};
  switch (request.algorithm) {
    case SvdAlgorithm::kExact:
      return ExactFactors(matrix, request, parallel);
    case SvdAlgorithm::kRandomized:
      return RandomizedFactors(matrix, request, parallel);
    case SvdAlgorithm::kAuto:
      break;
  }
  if (k <= kAlwaysExactSide || request.rank > affordable) {
    return ExactFactors(matrix, request, parallel);
  }
  if (request.rank > 0) return RandomizedFactors(matrix, request, parallel);
  // The rank that the energy needs is not known: look for it where looking is cheap.
  LowRankRequest cheap = request;
  cheap.max_rank = request.max_rank > 0 ? std::min(request.max_rank, affordable) : affordable;
  ASSIGN_OR_RETURN(LowRankFactors factors, RandomizedFactors(matrix, cheap, parallel));
  if (factors.complete || (request.max_rank > 0 && request.max_rank <= affordable)) return factors;
  return ExactFactors(matrix, request, parallel);
}

}  // namespace

int64_t RankForParameterRatio(int64_t m, int64_t n, double ratio) {
  const double rank = ratio * static_cast<double>(m) * static_cast<double>(n) /
                      (static_cast<double>(m) + static_cast<double>(n));
  // A hair more, so that a ratio meant to give a whole rank does.
  return std::max<int64_t>(1, static_cast<int64_t>(rank * (1 + 1e-12)));
}

int64_t LargestUsefulRank(int64_t m, int64_t n) {
  // Exact for any m n < 2^63.
  const int64_t product = m * n;
  return (product - 1) / (m + n);
}

absl::StatusOr<LowRankFactors> FactorLowRank(int64_t m, int64_t n, std::span<const float> a,
                                             const LowRankRequest& request, Parallel& parallel) {
  lapack::UseOneBlasThread();
  LowRankRequest bounded = request;
  bounded.rank = std::min(request.rank, std::min(m, n));
  if (request.rank > 0 && request.max_rank > 0 && request.rank > request.max_rank) {
    LowRankFactors refused;
    refused.rank = request.rank;
    refused.complete = false;
    return refused;
  }
  const float scale = Scale(a);
  std::vector<float> scaled;
  const float* values = a.data();
  if (scale != 1) {
    scaled.assign(a.begin(), a.end());
    for (float& value : scaled) value *= scale;
    values = scaled.data();
  }
  const double squared_norm = SquaredNorm(values, m * n, parallel);
  if (squared_norm == 0) {
    LowRankFactors zero;
    zero.algorithm = "exact";
    return zero;
  }
  ASSIGN_OR_RETURN(LowRankFactors factors, Solve(m, n, values, squared_norm, bounded, parallel));
  if (!factors.complete) return factors;
  FixSigns(m, n, factors);
  for (float& value : factors.s) value /= scale;
  return factors;
}

}  // namespace lathe::engine
