// Column j of the lower triangle is also row j of the upper one: with it in registers,
//   y[j:] += a[j:, j] x[j]   and   y[j] += a[j+1:, j] . x[j+1:]
// take one pass over memory. Four columns go together, so that y is loaded and stored once for
// four.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "worker/engine/linalg/symmetric_product.cc"
#include <hwy/foreach_target.h>
// Highway's header comes after it.
#include <hwy/highway.h>

#include "worker/engine/linalg/symmetric_product.h"

HWY_BEFORE_NAMESPACE();
namespace lathe::engine {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Adds the part of columns [first, last) to y, which covers rows from `first`: y[0] is row first.
void AddColumns(int64_t n, const float* a, int64_t lda, const float* x, int64_t first, int64_t last,
                float* y) {
  const hn::ScalableTag<float> d;
  const int64_t lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t j = first;
  for (; j + 4 <= last; j += 4) {
    const float* column[4];
    float sum[4] = {};
    for (int k = 0; k < 4; ++k) {
      column[k] = a + (j + k) * lda;
      // The triangle at the diagonal.
      y[j + k - first] += column[k][j + k] * x[j + k];
      for (int64_t i = j + k + 1; i < j + 4; ++i) {
        y[i - first] += column[k][i] * x[j + k];
        y[j + k - first] += column[k][i] * x[i];
      }
    }
    const auto x0 = hn::Set(d, x[j]);
    const auto x1 = hn::Set(d, x[j + 1]);
    const auto x2 = hn::Set(d, x[j + 2]);
    const auto x3 = hn::Set(d, x[j + 3]);
    auto s0 = hn::Zero(d);
    auto s1 = hn::Zero(d);
    auto s2 = hn::Zero(d);
    auto s3 = hn::Zero(d);
    int64_t i = j + 4;
    for (; i + lanes <= n; i += lanes) {
      const auto a0 = hn::LoadU(d, column[0] + i);
      const auto a1 = hn::LoadU(d, column[1] + i);
      const auto a2 = hn::LoadU(d, column[2] + i);
      const auto a3 = hn::LoadU(d, column[3] + i);
      const auto xi = hn::LoadU(d, x + i);
      auto yi = hn::LoadU(d, y + (i - first));
      yi = hn::MulAdd(a0, x0, yi);
      yi = hn::MulAdd(a1, x1, yi);
      yi = hn::MulAdd(a2, x2, yi);
      yi = hn::MulAdd(a3, x3, yi);
      hn::StoreU(yi, d, y + (i - first));
      s0 = hn::MulAdd(a0, xi, s0);
      s1 = hn::MulAdd(a1, xi, s1);
      s2 = hn::MulAdd(a2, xi, s2);
      s3 = hn::MulAdd(a3, xi, s3);
    }
    sum[0] = hn::GetLane(hn::SumOfLanes(d, s0));
    sum[1] = hn::GetLane(hn::SumOfLanes(d, s1));
    sum[2] = hn::GetLane(hn::SumOfLanes(d, s2));
    sum[3] = hn::GetLane(hn::SumOfLanes(d, s3));
    for (; i < n; ++i) {
      for (int k = 0; k < 4; ++k) {
        y[i - first] += column[k][i] * x[j + k];
        sum[k] += column[k][i] * x[i];
      }
    }
    for (int k = 0; k < 4; ++k) y[j + k - first] += sum[k];
  }
  for (; j < last; ++j) {
    const float* column = a + j * lda;
    float sum = column[j] * x[j];
    for (int64_t i = j + 1; i < n; ++i) {
      y[i - first] += column[i] * x[j];
      sum += column[i] * x[i];
    }
    y[j - first] += sum;
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace lathe::engine
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

#include <algorithm>

namespace lathe::engine {
namespace {

HWY_EXPORT(AddColumns);

constexpr int64_t kColumns = 256;

}  // namespace

void SymmetricProduct(int64_t n, const float* a, int64_t lda, const float* x, float* y,
                      std::vector<float>& scratch, Parallel& parallel) {
  const int64_t pieces = (n + kColumns - 1) / kColumns;
  scratch.resize(std::max(scratch.size(), static_cast<size_t>(pieces * n)));
  const auto add = HWY_DYNAMIC_DISPATCH(AddColumns);
  parallel.Run(pieces, [&](int64_t piece) {
    const int64_t first = piece * kColumns;
    float* part = scratch.data() + piece * n + first;
    std::fill_n(part, n - first, 0.0f);
    add(n, a, lda, x, first, std::min(n, first + kColumns), part);
  });
  std::copy_n(scratch.data(), n, y);
  for (int64_t piece = 1; piece < pieces; ++piece) {
    const float* part = scratch.data() + piece * n;
    for (int64_t i = piece * kColumns; i < n; ++i) y[i] += part[i];
  }
}

}  // namespace lathe::engine

#endif  // HWY_ONCE
