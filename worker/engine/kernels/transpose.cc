#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "worker/engine/kernels/transpose.cc"
#include <hwy/foreach_target.h>
// Highway's own headers follow the target's.
#include <hwy/highway.h>

#include <algorithm>

#include "worker/engine/kernels/transpose.h"

HWY_BEFORE_NAMESPACE();
namespace lathe::engine {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Rows and columns that are worked on at a time, so that lines written stay in the first cache
// until they are full.
constexpr int64_t kTile = 64;

#if HWY_TARGET == HWY_SCALAR
HWY_INLINE void Square(const float* from, int64_t from_stride, float* to, int64_t to_stride) {
  for (int64_t r = 0; r < 4; ++r) {
    for (int64_t c = 0; c < 4; ++c) to[c * to_stride + r] = from[r * from_stride + c];
  }
}
#else
HWY_INLINE void Square(const float* from, int64_t from_stride, float* to, int64_t to_stride) {
  const hn::FixedTag<float, 4> d;
  const auto r0 = hn::LoadU(d, from);
  const auto r1 = hn::LoadU(d, from + from_stride);
  const auto r2 = hn::LoadU(d, from + 2 * from_stride);
  const auto r3 = hn::LoadU(d, from + 3 * from_stride);
  const auto even_low = hn::InterleaveLower(d, r0, r2);
  const auto odd_low = hn::InterleaveLower(d, r1, r3);
  const auto even_high = hn::InterleaveUpper(d, r0, r2);
  const auto odd_high = hn::InterleaveUpper(d, r1, r3);
  hn::StoreU(hn::InterleaveLower(d, even_low, odd_low), d, to);
  hn::StoreU(hn::InterleaveUpper(d, even_low, odd_low), d, to + to_stride);
  hn::StoreU(hn::InterleaveLower(d, even_high, odd_high), d, to + 2 * to_stride);
  hn::StoreU(hn::InterleaveUpper(d, even_high, odd_high), d, to + 3 * to_stride);
}
#endif

void Tile(int64_t rows, int64_t columns, const float* from, int64_t from_stride, float* to,
          int64_t to_stride) {
  int64_t c = 0;
  for (; c + 4 <= columns; c += 4) {
    int64_t r = 0;
    for (; r + 4 <= rows; r += 4) {
      Square(from + r * from_stride + c, from_stride, to + c * to_stride + r, to_stride);
    }
    for (; r < rows; ++r) {
      for (int64_t i = c; i < c + 4; ++i) to[i * to_stride + r] = from[r * from_stride + i];
    }
  }
  for (; c < columns; ++c) {
    for (int64_t r = 0; r < rows; ++r) to[c * to_stride + r] = from[r * from_stride + c];
  }
}

void Transpose(int64_t rows, int64_t columns, const float* from, int64_t from_stride, float* to,
               int64_t to_stride) {
  for (int64_t r = 0; r < rows; r += kTile) {
    for (int64_t c = 0; c < columns; c += kTile) {
      Tile(std::min(kTile, rows - r), std::min(kTile, columns - c), from + r * from_stride + c,
           from_stride, to + c * to_stride + r, to_stride);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace lathe::engine
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lathe::engine {
namespace {

HWY_EXPORT(Transpose);

}  // namespace

void TransposeFloats(int64_t rows, int64_t columns, const float* from, int64_t from_stride,
                     float* to, int64_t to_stride) {
  HWY_DYNAMIC_DISPATCH(Transpose)(rows, columns, from, from_stride, to, to_stride);
}

}  // namespace lathe::engine
#endif  // HWY_ONCE
