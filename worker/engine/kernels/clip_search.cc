// The search for the shrink ratio of least squared error: every candidate is tried on every weight.
// Compiled once for each instruction set and chosen when the program runs.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "worker/engine/kernels/clip_search.cc"
#include <hwy/foreach_target.h>
// Highway's own headers follow the target's.
#include <hwy/highway.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "worker/engine/kernels/quantize-inl.h"
#include "worker/engine/kernels/quantize.h"

#ifndef LATHE_WORKER_ENGINE_KERNELS_CLIP_SEARCH_CANDIDATES
#define LATHE_WORKER_ENGINE_KERNELS_CLIP_SEARCH_CANDIDATES
namespace lathe::engine {
namespace {

constexpr int kPoints = 20;  // of the search for r
// Sets of up to so many weights are searched with a candidate a lane, longer ones with a weight a
// lane: folding twenty sums takes longer than those of a short set.
constexpr int64_t kShort = 128;

// Scales to choose from; q - z lies in [low, high]. Room for whole vectors
// of any instruction set, aligned for them.
struct Candidates {
  static constexpr int kSize = 32;
  alignas(64) float scale[kSize];
  alignas(64) float inverse[kSize];
  alignas(64) float low[kSize];
  alignas(64) float high[kSize];
};

}  // namespace
}  // namespace lathe::engine
#endif

HWY_BEFORE_NAMESPACE();
namespace lathe::engine {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

constexpr int64_t kFold = 1024;  // elements summed in float32 before they are folded into float64

// ((0+8)+(4+12)) and so on: slots i, i+4, i+8, i+12 first, then the four that are left.
HWY_INLINE float Fold(const V* sums) {
  HWY_ALIGN float slots[kSlots];
  for (int64_t v = 0; v < kVectors; ++v) hn::Store(sums[v], D(), slots + v * kWidth);
  const D4 d4;
  const auto even = hn::Add(hn::Load(d4, slots), hn::Load(d4, slots + 8));
  const auto odd = hn::Add(hn::Load(d4, slots + 4), hn::Load(d4, slots + 12));
  HWY_ALIGN float four[4];
  hn::Store(hn::Add(even, odd), d4, four);
  return (four[0] + four[2]) + (four[1] + four[3]);
}

void MinMax(const float* HWY_RESTRICT w, int64_t count, float* low, float* high) {
  const D d;
  V lows[kVectors];
  V highs[kVectors];
  for (int64_t v = 0; v < kVectors; ++v) lows[v] = highs[v] = hn::Zero(d);
  int64_t i = 0;
  for (; i + kSlots <= count; i += kSlots) {
    for (int64_t v = 0; v < kVectors; ++v) {
      const V x = hn::LoadU(d, w + i + v * kWidth);
      lows[v] = hn::Min(lows[v], x);
      highs[v] = hn::Max(highs[v], x);
    }
  }
  for (int64_t v = 1; v < kVectors; ++v) {
    lows[0] = hn::Min(lows[0], lows[v]);
    highs[0] = hn::Max(highs[0], highs[v]);
  }
  *low = hn::GetLane(hn::MinOfLanes(d, lows[0]));
  *high = hn::GetLane(hn::MaxOfLanes(d, highs[0]));
  for (; i < count; ++i) {
    *low = std::min(*low, w[i]);
    *high = std::max(*high, w[i]);
  }
}

// The (w / s - q)^2 of a vector, q in [low, high]: squared errors in units of the scale, so that no
// weight is too large or too small for them.
HWY_INLINE V StepsSquared(V w, V inverse, V low, V high) {
  const V t = hn::Mul(w, inverse);
  const V e = hn::Sub(t, hn::Min(hn::Max(hn::Round(t), low), high));
  return hn::Mul(e, e);
}

HWY_INLINE float ErrorInSteps(const float* HWY_RESTRICT w, int64_t count, float inverse, float low,
                              float high) {
  const D d;
  const V by = hn::Set(d, inverse);
  const V lo = hn::Set(d, low);
  const V hi = hn::Set(d, high);
  V sums[kVectors];
  for (int64_t v = 0; v < kVectors; ++v) sums[v] = hn::Zero(d);
  int64_t i = 0;
  for (; i + kSlots <= count; i += kSlots) {
    for (int64_t v = 0; v < kVectors; ++v) {
      const V x = hn::LoadU(d, w + i + v * kWidth);
      sums[v] = hn::Add(sums[v], StepsSquared(x, by, lo, hi));
    }
  }
  if (i < count) {
    HWY_ALIGN float rest[kSlots] = {};  // zeros round to zero
    std::copy(w + i, w + count, rest);
    for (int64_t v = 0; v < kVectors; ++v)
      sums[v] = hn::Add(sums[v], StepsSquared(hn::Load(d, rest + v * kWidth), by, lo, hi));
  }
  return Fold(sums);
}

// Scale and reciprocal of each largest magnitude in c.scale.
void SymmetricScales(float highest, Candidates& c) {
  HWY_ALIGN float largest[Candidates::kSize];
  std::copy(c.scale, c.scale + Candidates::kSize, largest);
  ScalesOf(largest, kPoints, highest, c.scale, c.inverse);
}

// Index of the candidate of least squared error, the first of equals.
int SearchLong(const float* w, int64_t count, const Candidates& c) {
  int best = 0;
  double least = std::numeric_limits<double>::infinity();
  for (int point = 0; point < kPoints; ++point) {
    const double step = static_cast<double>(c.scale[point]) * static_cast<double>(c.scale[point]);
    double error = 0;
    int64_t at = 0;
    do {  // what is worse already need not be finished
      error +=
          step * static_cast<double>(ErrorInSteps(w + at, std::min(kFold, count - at),
                                                  c.inverse[point], c.low[point], c.high[point]));
      at += kFold;
    } while (at < count && error < least);
    best = error < least ? point : best;
    least = std::min(least, error);
  }
  return best;
}

// The candidates of a vector, a lane each.
template <bool kSymmetric>
struct Lanes {
  V inverse;
  V low;
  V high;
  HWY_INLINE Lanes(const Candidates& c, int64_t at)
      : inverse(hn::Load(D(), c.inverse + at)),
        low(hn::Load(D(), c.low + at)),
        high(hn::Load(D(), c.high + at)) {}
  HWY_INLINE V Error(float w) const {
    const V t = hn::Mul(hn::Set(D(), w), inverse);
    V q = hn::Round(t);
    if (!kSymmetric) q = hn::Max(q, low);  // w is a magnitude otherwise
    const V e = hn::Sub(t, hn::Min(q, high));
    return hn::Mul(e, e);
  }
  // The sum of a slot: weights slot, slot + kSlots and so on, in order.
  HWY_INLINE V Slot(const float* w, int64_t count, int64_t slot) const {
    V sum = Error(w[slot]);
    for (int64_t i = slot + kSlots; i < count; i += kSlots) sum = hn::Add(sum, Error(w[i]));
    return sum;
  }
  // In the order of Fold: the sums are those of the search with a weight a lane, bit for bit.
  HWY_INLINE V Four(const float* w, int64_t count, int64_t slot) const {
    const V even = hn::Add(Slot(w, count, slot), Slot(w, count, slot + 8));
    const V odd = hn::Add(Slot(w, count, slot + 4), Slot(w, count, slot + 12));
    return hn::Add(even, odd);
  }
  HWY_INLINE V Sum(const float* w, int64_t count) const {
    return hn::Add(hn::Add(Four(w, count, 0), Four(w, count, 2)),
                   hn::Add(Four(w, count, 1), Four(w, count, 3)));
  }
};

// As SearchLong, for w[0..count) of whole slots (padded with zeros, which cost nothing), count at
// most kShort; magnitudes when kSymmetric.
template <bool kSymmetric>
HWY_INLINE int SearchPadded(const float* w, int64_t count, const Candidates& c) {
  HWY_ALIGN float sums[Candidates::kSize];
  for (int64_t at = 0; at < kPoints; at += kWidth) {
    const Lanes<kSymmetric> lanes(c, at);
    hn::Store(lanes.Sum(w, count), D(), sums + at);
  }
  std::fill(sums + kPoints, sums + Candidates::kSize, std::numeric_limits<float>::infinity());
  const hn::CappedTag<double, 8> dd;
  const hn::Rebind<float, decltype(dd)> df;
  constexpr auto kDoubles = static_cast<int64_t>(hn::MaxLanes(dd));
  HWY_ALIGN double errors[Candidates::kSize];
  auto least = hn::Set(dd, std::numeric_limits<double>::infinity());
  for (int64_t i = 0; i < kPoints; i += kDoubles) {
    const auto scale = hn::PromoteTo(dd, hn::Load(df, c.scale + i));
    const auto error = hn::Mul(hn::Mul(scale, scale), hn::PromoteTo(dd, hn::Load(df, sums + i)));
    hn::Store(error, dd, errors + i);
    least = hn::Min(least, error);
  }
  least = hn::MinOfLanes(dd, least);
  for (int64_t i = 0; i < kPoints; i += kDoubles) {
    const auto first = hn::FindFirstTrue(dd, hn::Eq(hn::Load(dd, errors + i), least));
    if (first >= 0) return static_cast<int>(i + first);
  }
  return 0;
}

// Index of the candidate of least squared error, the first of equals.
int Search(const float* w, int64_t count, const Candidates& c) {
  if (count > kShort) return SearchLong(w, count, c);
  HWY_ALIGN float padded[kShort + kSlots] = {};
  std::copy(w, w + count, padded);
  return SearchPadded<false>(padded, (count + kSlots - 1) / kSlots * kSlots, c);
}

// The best scale of a short symmetric set, all in one go. `ratios`: room for whole vectors.
float ShortSymmetric(const float* w, int64_t count, const float* ratios, float highest) {
  const D d;
  HWY_ALIGN float padded[kShort + kSlots];
  V most = hn::Zero(d);
  int64_t at = 0;
  const int64_t whole = count / kSlots * kSlots;
  for (; at < whole; at += kWidth) {
    const V magnitude = hn::Abs(hn::LoadU(d, w + at));
    most = hn::Max(most, magnitude);
    hn::Store(magnitude, d, padded + at);
  }
  float largest = hn::GetLane(hn::MaxOfLanes(d, most));
  if (at < count) {
    std::fill(padded + at, padded + at + kSlots, 0.0f);
    for (int64_t i = at; i < count; ++i) {
      padded[i] = std::abs(w[i]);
      largest = std::max(largest, padded[i]);
    }
    at += kSlots;
  }
  if (largest == 0) return 1.0f;
  Candidates c;
  for (int64_t i = 0; i < Candidates::kSize; i += kWidth) {
    hn::Store(hn::Mul(hn::Set(d, largest), hn::Load(d, ratios + i)), d, c.scale + i);
    hn::Store(hn::Set(d, -highest), d, c.low + i);
    hn::Store(hn::Set(d, highest), d, c.high + i);
  }
  SymmetricScales(highest, c);
  // The usual lengths of groups unroll.
  const int best = at == 32   ? SearchPadded<true>(padded, 32, c)
                   : at == 64 ? SearchPadded<true>(padded, 64, c)
                              : SearchPadded<true>(padded, at, c);
  return c.scale[best];
}

}  // namespace HWY_NAMESPACE
}  // namespace lathe::engine
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

namespace lathe::engine {
namespace {

HWY_EXPORT(MinMax);
HWY_EXPORT(SymmetricScales);
HWY_EXPORT(Search);
HWY_EXPORT(ShortSymmetric);

// Shrink ratios from 1 down to `smallest`, and on below it to fill vectors.
constexpr std::array<float, Candidates::kSize> Ratios(float smallest) {
  std::array<float, Candidates::kSize> ratios = {};
  for (int point = 0; point < Candidates::kSize; ++point) {
    ratios[static_cast<size_t>(point)] =
        1.0f - (1.0f - smallest) * (static_cast<float>(point) * (1.0f / (kPoints - 1)));
  }
  return ratios;
}
alignas(64) constexpr std::array<float, Candidates::kSize> kFewBits = Ratios(0.3f);
alignas(64) constexpr std::array<float, Candidates::kSize> kManyBits = Ratios(0.5f);

struct Bounds {
  float low = 0;
  float high = 0;
};

SetScale ScaleFor(const Bounds& bounds, float ratio, const RoundingRule& rule) {
  SetScale out;
  if (rule.symmetric) {
    out.scale = SymmetricScale(std::max(-bounds.low, bounds.high) * ratio, HighestInteger(rule));
    return out;
  }
  // In float64, so that a range near the largest float does not overflow.
  const double low = static_cast<double>(bounds.low) * static_cast<double>(ratio);
  const double high = static_cast<double>(bounds.high) * static_cast<double>(ratio);
  const double scale = (high - low) / static_cast<double>(HighestInteger(rule));
  if (scale >= kSmallestScale) out.scale = static_cast<float>(scale);
  const auto highest = static_cast<double>(HighestInteger(rule));
  const double zero =
      std::min(std::max(std::nearbyint(-low / static_cast<double>(out.scale)), 0.0), highest);
  out.zero_point = static_cast<int32_t>(zero);
  out.scale =
      std::min(out.scale, kLargestDecoded / static_cast<float>(std::max(zero, highest - zero)));
  return out;
}

}  // namespace

SetScale FindScale(const float* w, int64_t count, const RoundingRule& rule) {
  const auto& ratios = rule.bits <= 4 ? kFewBits : kManyBits;
  const float highest = HighestInteger(rule);
  if (rule.clip_mse && rule.symmetric && count <= kShort) {
    return {HWY_DYNAMIC_DISPATCH(ShortSymmetric)(w, count, ratios.data(), highest), 0};
  }
  Bounds bounds;
  HWY_DYNAMIC_DISPATCH(MinMax)(w, count, &bounds.low, &bounds.high);
  if (!rule.clip_mse || (bounds.low == 0 && bounds.high == 0)) return ScaleFor(bounds, 1.0f, rule);
  Candidates c;
  if (rule.symmetric) {
    const float largest = std::max(-bounds.low, bounds.high);
    for (size_t point = 0; point < ratios.size(); ++point) {
      c.scale[point] = largest * ratios[point];
      c.low[point] = LowestInteger(rule);
      c.high[point] = highest;
    }
    HWY_DYNAMIC_DISPATCH(SymmetricScales)(highest, c);
    return {c.scale[HWY_DYNAMIC_DISPATCH(Search)(w, count, c)], 0};
  }
  SetScale candidates[Candidates::kSize];
  for (size_t point = 0; point < ratios.size(); ++point) {
    candidates[point] = ScaleFor(bounds, std::max(ratios[point], 0.0f), rule);
    const auto zero = static_cast<float>(candidates[point].zero_point);
    c.scale[point] = candidates[point].scale;
    c.inverse[point] = 1.0f / candidates[point].scale;
    c.low[point] = LowestInteger(rule) - zero;
    c.high[point] = highest - zero;
  }
  return candidates[HWY_DYNAMIC_DISPATCH(Search)(w, count, c)];
}

}  // namespace lathe::engine

#endif  // HWY_ONCE
