// What the kernels share. Every sum is kept in kSlots slots, folded in one order: wider vectors
// hold more of them, and change the speed alone.
#if defined(LATHE_WORKER_ENGINE_KERNELS_QUANTIZE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LATHE_WORKER_ENGINE_KERNELS_QUANTIZE_INL_H_
#undef LATHE_WORKER_ENGINE_KERNELS_QUANTIZE_INL_H_
#else
#define LATHE_WORKER_ENGINE_KERNELS_QUANTIZE_INL_H_
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "worker/engine/kernels/quantize.h"

HWY_BEFORE_NAMESPACE();
namespace lathe::engine {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

constexpr int64_t kSlots = 16;

using D = hn::CappedTag<float, 16>;
using D4 = hn::FixedTag<float, 4>;
using V = hn::Vec<D>;
constexpr int64_t kWidth = static_cast<int64_t>(hn::MaxLanes(D()));
constexpr int64_t kVectors = kSlots / kWidth;

// Running largest magnitudes, a slot each.
struct Largest {
  V slots[kVectors];
  HWY_INLINE Largest() {
    for (int64_t v = 0; v < kVectors; ++v) slots[v] = hn::Zero(D());
  }
  HWY_INLINE void Take(const float* w) {  // kSlots of them
    for (int64_t v = 0; v < kVectors; ++v)
      slots[v] = hn::Max(slots[v], hn::Abs(hn::LoadU(D(), w + v * kWidth)));
  }
  // With the weights of [from, count), fewer than kSlots.
  HWY_INLINE float Finish(const float* w, int64_t from, int64_t count) {
    for (int64_t v = 1; v < kVectors; ++v) slots[0] = hn::Max(slots[0], slots[v]);
    float largest = hn::GetLane(hn::MaxOfLanes(D(), slots[0]));
    for (; from < count; ++from) largest = std::max(largest, std::abs(w[from]));
    return largest;
  }
};

HWY_INLINE float AbsMax(const float* HWY_RESTRICT w, int64_t count) {
  Largest largest;
  int64_t i = 0;
  for (; i + kSlots <= count; i += kSlots) largest.Take(w + i);
  return largest.Finish(w, i, count);
}

// largest[0..sets) to scales, and their reciprocals. Room for whole vectors in both.
HWY_INLINE void ScalesOf(const float* largest, int64_t sets, float highest, float* scales,
                         float* inverses) {
  const D d;
  const V smallest = hn::Set(d, kSmallestScale);
  const V one = hn::Set(d, 1.0f);
  const V most = hn::Set(d, kLargestDecoded);
  const V by = hn::Set(d, highest);
  for (int64_t s = 0; s < sets; s += kWidth) {
    const V scale = hn::Div(hn::Min(hn::LoadU(d, largest + s), most), by);
    const V used = hn::IfThenElse(hn::Ge(scale, smallest), scale, one);
    hn::StoreU(used, d, scales + s);
    hn::StoreU(hn::Div(one, used), d, inverses + s);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace lathe::engine
HWY_AFTER_NAMESPACE();

#endif
