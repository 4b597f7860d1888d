// Rounding, packing and errors. Compiled once for each instruction set and chosen when the program
// runs.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "worker/engine/kernels/quantize.cc"
#include <hwy/cache_control.h>
#include <hwy/foreach_target.h>
// Highway's own headers follow the target's.
#include <hwy/highway.h>

#include <algorithm>

#include "worker/engine/kernels/quantize-inl.h"
#include "worker/engine/kernels/quantize.h"

HWY_BEFORE_NAMESPACE();
namespace lathe::engine {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

constexpr int64_t kRoom = 1024;  // bytes of integers between rounding and packing
// Weights that are fetched ahead of their use, and bytes of integers ahead of their writing.
constexpr int64_t kReadAhead = 768;
constexpr int64_t kWriteAhead = 512;

// Rounds vectors to the low byte of clamp(round(w / s), low, high) + z: int8 or uint8.
class Rounder {
 public:
  HWY_INLINE Rounder(float inverse, int32_t zero, float low, float high)
      : inverse_(hn::Set(D(), inverse)),
        low_(hn::Set(D(), low)),
        high_(hn::Set(D(), high)),
        // Adding 1.5 * 2^23 rounds to the nearest integer, ties to even, and leaves its low bits,
        // in two's complement, in those of the sum.
        magic_(hn::Set(D(), 12582912.0f)),
        zero_(hn::Set(U(), static_cast<uint32_t>(zero))) {}

  HWY_INLINE void Clamped(const float* w, uint8_t* q) const {  // kSlots of them
    for (int64_t v = 0; v < kVectors; ++v) {
      const V t = hn::Mul(hn::LoadU(D(), w + v * kWidth), inverse_);
      const V r = hn::Add(hn::Min(hn::Max(t, low_), high_), magic_);
      Put(hn::Add(hn::BitCast(U(), r), zero_), q + v * kWidth);
    }
  }
  // For symmetric sets whose scale is that of their largest magnitude: w / s is outside of the
  // range by rounding errors at most.
  HWY_INLINE void Within(const float* w, uint8_t* q) const {
    for (int64_t v = 0; v < kVectors; ++v) {
      const V t = hn::Mul(hn::LoadU(D(), w + v * kWidth), inverse_);
      Put(hn::BitCast(U(), hn::Add(t, magic_)), q + v * kWidth);
    }
  }
  // Fewer than kSlots.
  HWY_INLINE void ClampedRest(const float* w, int64_t count, uint8_t* q) const {
    HWY_ALIGN float rest[kSlots] = {};
    HWY_ALIGN uint8_t out[kSlots];
    std::copy(w, w + count, rest);
    Clamped(rest, out);
    std::copy(out, out + count, q);
  }

 private:
  using U = hn::Rebind<uint32_t, D>;
  static HWY_INLINE void Put(hn::Vec<U> integers, uint8_t* q) {
    const hn::Rebind<uint8_t, D> d8;
    hn::StoreU(hn::TruncateTo(d8, integers), d8, q);
  }
  V inverse_;
  V low_;
  V high_;
  V magic_;
  hn::Vec<U> zero_;
};

void RoundAll(const float* w, int64_t count, float inverse, int32_t zero, float low, float high,
              int8_t* out) {
  const Rounder rounder(inverse, zero, low, high);
  auto* q = reinterpret_cast<uint8_t*>(out);
  int64_t i = 0;
  for (; i + kSlots <= count; i += kSlots) rounder.Clamped(w + i, q + i);
  if (i < count) rounder.ClampedRest(w + i, count - i, q + i);
}

// Rounds w with its scale, and returns the largest magnitude of `next`, which comes from memory
// meanwhile. Both have `count` weights.
HWY_INLINE float RoundAndLookAhead(const float* HWY_RESTRICT w, const float* HWY_RESTRICT next,
                                   int64_t count, float inverse, float highest,
                                   uint8_t* HWY_RESTRICT q) {
  const Rounder rounder(inverse, 0, -highest, highest);
  Largest largest;
  int64_t i = 0;
  for (; i + 4 * kSlots <= count; i += 4 * kSlots) {
    hwy::Prefetch(q + i + kWriteAhead);  // hints: the addresses need not be ours
    for (int64_t j = i; j < i + 4 * kSlots; j += kSlots) {
      hwy::Prefetch(next + j + kReadAhead);
      largest.Take(next + j);
      rounder.Within(w + j, q + j);
    }
  }
  for (; i + kSlots <= count; i += kSlots) {
    hwy::Prefetch(next + i + kReadAhead);
    largest.Take(next + i);
    rounder.Within(w + i, q + i);
  }
  if (i < count) rounder.ClampedRest(w + i, count - i, q + i);
  return largest.Finish(next, i, count);
}

HWY_INLINE void RoundWithin(const float* HWY_RESTRICT w, int64_t count, float inverse,
                            float highest, uint8_t* HWY_RESTRICT q) {
  const Rounder rounder(inverse, 0, -highest, highest);
  int64_t i = 0;
  for (; i + kSlots <= count; i += kSlots) rounder.Within(w + i, q + i);
  if (i < count) rounder.ClampedRest(w + i, count - i, q + i);
}

void Sums(const float* HWY_RESTRICT w, const int8_t* HWY_RESTRICT q, int64_t count, float scale,
          float zero, bool is_unsigned, const float* multipliers, double* error, double* signal) {
  // float64 from the start: the square of a float32 need not be one.
  const D d;
  const hn::Rebind<int32_t, D> di;
  const hn::Repartition<double, D> dd;
  const hn::Half<D> dh;
  const V s = hn::Set(d, scale);
  const V z = hn::Set(d, zero);
  constexpr int64_t kPairs = 2 * kVectors;
  hn::Vec<hn::Repartition<double, D>> errors[kPairs];
  hn::Vec<hn::Repartition<double, D>> signals[kPairs];
  for (int64_t v = 0; v < kPairs; ++v) errors[v] = signals[v] = hn::Zero(dd);
  const auto block = [&](const float* x, const int8_t* stored, const float* times) HWY_ATTR {
    for (int64_t v = 0; v < kVectors; ++v) {
      const V value = hn::LoadU(d, x + v * kWidth);
      const auto integers =
          is_unsigned
              ? hn::PromoteTo(di, hn::LoadU(hn::Rebind<uint8_t, D>(),
                                            reinterpret_cast<const uint8_t*>(stored) + v * kWidth))
              : hn::PromoteTo(di, hn::LoadU(hn::Rebind<int8_t, D>(), stored + v * kWidth));
      V decoded = hn::Mul(hn::Sub(hn::ConvertTo(d, integers), z), s);
      if (times != nullptr) decoded = hn::Mul(decoded, hn::LoadU(d, times + v * kWidth));
      const V e = hn::Sub(value, decoded);
      const auto add = [&](auto half_e, auto half_w, int64_t at) HWY_ATTR {
        const auto wide_e = hn::PromoteTo(dd, half_e);
        const auto wide_w = hn::PromoteTo(dd, half_w);
        errors[at] = hn::Add(errors[at], hn::Mul(wide_e, wide_e));
        signals[at] = hn::Add(signals[at], hn::Mul(wide_w, wide_w));
      };
      add(hn::LowerHalf(dh, e), hn::LowerHalf(dh, value), 2 * v);
      add(hn::UpperHalf(dh, e), hn::UpperHalf(dh, value), 2 * v + 1);
    }
  };
  int64_t i = 0;
  if (multipliers == nullptr) {
    for (; i + kSlots <= count; i += kSlots) block(w + i, q + i, nullptr);
  } else {
    for (; i + kSlots <= count; i += kSlots) block(w + i, q + i, multipliers + i);
  }
  if (i < count) {
    HWY_ALIGN float rest[kSlots] = {};
    HWY_ALIGN float times[kSlots] = {};
    HWY_ALIGN int8_t stored[kSlots];
    std::fill(stored, stored + kSlots, static_cast<int8_t>(static_cast<int32_t>(zero)));
    std::copy(w + i, w + count, rest);
    std::copy(q + i, q + count, stored);
    if (multipliers != nullptr) std::copy(multipliers + i, multipliers + count, times);
    block(rest, stored, multipliers == nullptr ? nullptr : times);
  }
  const auto fold = [&](const hn::Vec<hn::Repartition<double, D>>* sums) HWY_ATTR {
    HWY_ALIGN double slots[kSlots];
    for (int64_t v = 0; v < kPairs; ++v) hn::Store(sums[v], dd, slots + v * (kWidth / 2));
    double total = 0;
    for (const double slot : slots) total += slot;
    return total;
  };
  *error = fold(errors);
  *signal = fold(signals);
}

void Divide(const float* HWY_RESTRICT w, const float* HWY_RESTRICT by, int64_t count,
            float* HWY_RESTRICT out) {
  const D d;
  int64_t i = 0;
  for (; i + kWidth <= count; i += kWidth)
    hn::StoreU(hn::Div(hn::LoadU(d, w + i), hn::LoadU(d, by + i)), d, out + i);
  for (; i < count; ++i) out[i] = w[i] / by[i];
}

void Pack(const int8_t* HWY_RESTRICT q, int64_t count, uint8_t* HWY_RESTRICT out) {
  const hn::CappedTag<int16_t, 16> d;
  const hn::Rebind<uint8_t, decltype(d)> d8;
  const hn::RebindToUnsigned<decltype(d)> du;
  const hn::Repartition<uint8_t, decltype(d)> db;
  const auto low = hn::Set(du, 0x0f);
  const auto high = hn::Set(du, 0xf0);
  const auto pairs = static_cast<int64_t>(hn::Lanes(d));
  int64_t i = 0;
  for (; i + 2 * pairs <= count; i += 2 * pairs) {
    const auto bytes = hn::LoadU(db, reinterpret_cast<const uint8_t*>(q) + i);
    const auto v = hn::BitCast(du, bytes);
    const auto packed = hn::Or(hn::And(v, low), hn::And(hn::ShiftRight<4>(v), high));
    hn::StoreU(hn::DemoteTo(d8, hn::BitCast(d, packed)), d8, out + i / 2);
  }
  for (; i + 1 < count; i += 2)
    out[i / 2] = static_cast<uint8_t>((q[i] & 0x0f) | ((q[i + 1] & 0x0f) << 4));
  if (i < count) out[i / 2] = static_cast<uint8_t>(q[i] & 0x0f);
}

// Sets of up to kRoom weights, as many at a time as fit it: their scales are found together, and
// their integers packed in the nearest cache.
template <bool kNibbles>
HWY_INLINE void RoundShortSets(const float* w, int64_t count, int64_t set_length, float highest,
                               uint8_t* out, float* scales) {
  HWY_ALIGN uint8_t bytes[kRoom];
  HWY_ALIGN float largest[kRoom + kSlots];
  HWY_ALIGN float found[kRoom + kSlots];
  HWY_ALIGN float inverses[kRoom + kSlots];
  const int64_t step = kRoom / set_length * set_length;
  bool known = false;  // `largest` is of this piece already
  for (int64_t at = 0; at < count; at += step) {
    const int64_t length = std::min(step, count - at);
    const int64_t sets = (length + set_length - 1) / set_length;
    const float* from = w + at;
    if (!known) {
      for (int64_t s = 0; s < sets; ++s) {
        const int64_t i = s * set_length;
        largest[s] = AbsMax(from + i, std::min(set_length, length - i));
      }
    }
    std::fill(largest + sets, largest + sets + kSlots, 1.0f);
    ScalesOf(largest, sets, highest, found, inverses);
    std::copy(found, found + sets, scales);
    scales += sets;
    uint8_t* q = kNibbles ? bytes : out + at;
    known = at + 2 * step <= count;
    if (known) {
      for (int64_t s = 0; s < sets; ++s) {
        const int64_t i = s * set_length;
        largest[s] =
            RoundAndLookAhead(from + i, from + step + i, set_length, inverses[s], highest, q + i);
      }
    } else {
      for (int64_t s = 0; s < sets; ++s) {
        const int64_t i = s * set_length;
        RoundWithin(from + i, std::min(set_length, length - i), inverses[s], highest, q + i);
      }
    }
    if (kNibbles) Pack(reinterpret_cast<const int8_t*>(bytes), length, out + at / 2);
  }
}

// Sets of more than kRoom weights.
template <bool kNibbles>
HWY_INLINE void RoundLongSets(const float* w, int64_t count, int64_t set_length, float highest,
                              uint8_t* out, float* scales) {
  HWY_ALIGN uint8_t bytes[kRoom];
  float largest = AbsMax(w, std::min(set_length, count));
  for (int64_t at = 0; at < count; at += set_length) {
    const int64_t end = std::min(count, at + set_length);
    const bool whole = end + set_length <= count;
    const float scale = SymmetricScale(largest, highest);
    *scales++ = scale;
    largest = 0;
    for (int64_t i = at; i < end; i += kRoom) {
      const int64_t length = std::min(kRoom, end - i);
      uint8_t* q = kNibbles ? bytes : out + i;
      if (whole) {
        largest = std::max(largest, RoundAndLookAhead(w + i, w + i + set_length, length,
                                                      1.0f / scale, highest, q));
      } else {
        RoundWithin(w + i, length, 1.0f / scale, highest, q);
      }
      if (kNibbles) Pack(reinterpret_cast<const int8_t*>(bytes), length, out + i / 2);
    }
    if (!whole && end < count) largest = AbsMax(w + end, count - end);
  }
}

void RoundAllSets(const float* w, int64_t count, int64_t set_length, float highest, bool nibbles,
                  uint8_t* out, float* scales) {
  if (set_length <= kRoom) {
    nibbles ? RoundShortSets<true>(w, count, set_length, highest, out, scales)
            : RoundShortSets<false>(w, count, set_length, highest, out, scales);
  } else {
    nibbles ? RoundLongSets<true>(w, count, set_length, highest, out, scales)
            : RoundLongSets<false>(w, count, set_length, highest, out, scales);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace lathe::engine
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

namespace lathe::engine {
namespace {

HWY_EXPORT(RoundAll);
HWY_EXPORT(Sums);
HWY_EXPORT(Divide);
HWY_EXPORT(Pack);
HWY_EXPORT(RoundAllSets);

}  // namespace

void RoundSet(const float* w, int64_t count, const RoundingRule& rule, const SetScale& s,
              int8_t* q) {
  const auto zero = static_cast<float>(s.zero_point);
  HWY_DYNAMIC_DISPATCH(RoundAll)
  (w, count, 1.0f / s.scale, s.zero_point, LowestInteger(rule) - zero, HighestInteger(rule) - zero,
   q);
}

void RoundSets(const float* w, int64_t count, int64_t set_length, int bits, bool nibbles,
               uint8_t* out, float* scales) {
  const float highest = HighestInteger({bits, true, false});
  HWY_DYNAMIC_DISPATCH(RoundAllSets)(w, count, set_length, highest, nibbles, out, scales);
}

SquaredSums SetError(const float* w, const int8_t* q, int64_t count, const RoundingRule& rule,
                     const SetScale& s, const float* multipliers) {
  SquaredSums out;
  HWY_DYNAMIC_DISPATCH(Sums)
  (w, q, count, s.scale, static_cast<float>(s.zero_point), !rule.symmetric, multipliers, &out.error,
   &out.signal);
  return out;
}

void PackNibbles(const int8_t* q, int64_t count, uint8_t* out) {
  HWY_DYNAMIC_DISPATCH(Pack)(q, count, out);
}

void DivideEach(const float* w, const float* by, int64_t count, float* out) {
  HWY_DYNAMIC_DISPATCH(Divide)(w, by, count, out);
}

}  // namespace lathe::engine

#endif  // HWY_ONCE
