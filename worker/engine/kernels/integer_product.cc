// Compiled once for each instruction set and chosen when the program runs.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "worker/engine/kernels/integer_product.cc"
#include <hwy/foreach_target.h>
// Highway's own headers follow the target's.
#include <hwy/highway.h>

#include <algorithm>
#include <cstring>

#include "worker/engine/kernels/integer_product.h"

HWY_BEFORE_NAMESPACE();
namespace lathe::engine {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D32 = hn::CappedTag<int32_t, kPanel>;
using D16 = hn::Repartition<int16_t, D32>;
using V32 = hn::Vec<D32>;
constexpr int64_t kWidth = static_cast<int64_t>(hn::MaxLanes(D32()));
constexpr int64_t kVectors = kPanel / kWidth;

// kRows rows of the left operand with one panel. live: columns of the panel that exist.
template <int64_t kRows>
HWY_INLINE void Tile(int64_t pairs, const int16_t* HWY_RESTRICT a, int64_t a_stride,
                     const int16_t* HWY_RESTRICT panel, int32_t* HWY_RESTRICT c, int64_t c_stride,
                     int64_t live) {
  V32 even[kRows][kVectors];
  V32 odd[kRows][kVectors];
  for (int64_t r = 0; r < kRows; ++r) {
    for (int64_t v = 0; v < kVectors; ++v) even[r][v] = odd[r][v] = hn::Zero(D32());
  }
  for (int64_t p = 0; p < pairs; ++p) {
    for (int64_t v = 0; v < kVectors; ++v) {
      const auto b = hn::LoadU(D16(), panel + (p * kVectors + v) * 2 * kWidth);
      for (int64_t r = 0; r < kRows; ++r) {
        int32_t pair;
        std::memcpy(&pair, a + r * a_stride + 2 * p, sizeof(pair));
        even[r][v] = hn::ReorderWidenMulAccumulate(D32(), hn::BitCast(D16(), hn::Set(D32(), pair)),
                                                   b, even[r][v], odd[r][v]);
      }
    }
  }
  for (int64_t r = 0; r < kRows; ++r) {
    HWY_ALIGN int32_t sums[kPanel];
    for (int64_t v = 0; v < kVectors; ++v) {
      hn::Store(hn::RearrangeToOddPlusEven(even[r][v], odd[r][v]), D32(), sums + v * kWidth);
    }
    std::memcpy(c + r * c_stride, sums, static_cast<size_t>(live) * sizeof(int32_t));
  }
}

void Product(int64_t m, int64_t n, int64_t k, const int16_t* a, const int16_t* b, int32_t* c,
             int64_t c_stride) {
  const int64_t pairs = (k + 1) / 2;
  const int64_t a_stride = 2 * pairs;
  // Four vectors of sums a row at most: 4 rows of two fit the registers of every target.
  constexpr int64_t kRows = kVectors >= 4 ? 2 : 4;
  for (int64_t j = 0; j < n; j += kPanel) {
    const int16_t* panel = b + j * a_stride;
    const int64_t live = std::min(kPanel, n - j);
    int64_t i = 0;
    for (; i + kRows <= m; i += kRows) {
      Tile<kRows>(pairs, a + i * a_stride, a_stride, panel, c + i * c_stride + j, c_stride, live);
    }
    for (; i < m; ++i) {
      Tile<1>(pairs, a + i * a_stride, a_stride, panel, c + i * c_stride + j, c_stride, live);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace lathe::engine
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

namespace lathe::engine {
namespace {

HWY_EXPORT(Product);

}  // namespace

void IntegerProduct(int64_t m, int64_t n, int64_t k, const int16_t* a, const int16_t* b, int32_t* c,
                    int64_t c_stride) {
  HWY_DYNAMIC_DISPATCH(Product)(m, n, k, a, b, c, c_stride);
}

template <typename T>
void PackLeft(const T* a, int64_t m, int64_t k, int64_t row_stride, int64_t column_stride,
              const int32_t* zeros, int64_t zero_step, int16_t* out) {
  const int64_t stride = LeftStride(k);
  for (int64_t i = 0; i < m; ++i) {
    const T* row = a + i * row_stride;
    const int32_t zero = zeros[i * zero_step];
    int16_t* to = out + i * stride;
    if (column_stride == 1) {
      Centre(row, k, zero, to);
    } else {
      for (int64_t j = 0; j < k; ++j) to[j] = static_cast<int16_t>(row[j * column_stride] - zero);
    }
    if (stride > k) to[k] = 0;
  }
}

template <typename T>
void PackRight(const T* b, int64_t k, int64_t n, int64_t row_stride, int64_t column_stride,
               const int32_t* zeros, int64_t zero_step, int16_t* out) {
  const int64_t pairs = (k + 1) / 2;
  for (int64_t first = 0; first < n; first += kPanel) {
    int16_t* panel = out + first * 2 * pairs;
    const int64_t live = std::min(kPanel, n - first);
    if (live < kPanel || k % 2 != 0) std::fill_n(panel, 2 * pairs * kPanel, int16_t{0});
    const T* from = b + first * column_stride;
    const int32_t* zero = zeros + first * zero_step;
    for (int64_t row = 0; row < k; ++row) {
      int16_t* to = panel + row / 2 * 2 * kPanel + row % 2;
      for (int64_t j = 0; j < live; ++j) {
        to[2 * j] =
            static_cast<int16_t>(from[row * row_stride + j * column_stride] - zero[j * zero_step]);
      }
    }
  }
}

template void PackLeft(const int8_t*, int64_t, int64_t, int64_t, int64_t, const int32_t*, int64_t,
                       int16_t*);
template void PackLeft(const uint8_t*, int64_t, int64_t, int64_t, int64_t, const int32_t*, int64_t,
                       int16_t*);
template void PackRight(const int8_t*, int64_t, int64_t, int64_t, int64_t, const int32_t*, int64_t,
                        int16_t*);
template void PackRight(const uint8_t*, int64_t, int64_t, int64_t, int64_t, const int32_t*, int64_t,
                        int16_t*);

}  // namespace lathe::engine

#endif  // HWY_ONCE
