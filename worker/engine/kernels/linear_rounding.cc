// Compiled once for each instruction set and chosen when the program runs.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "worker/engine/kernels/linear_rounding.cc"
#include <hwy/foreach_target.h>
// Highway's own headers follow the target's.
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>

#include "worker/engine/kernels/linear_rounding.h"

HWY_BEFORE_NAMESPACE();
namespace lathe::engine {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::CappedTag<float, 16>;
using DI = hn::RebindToSigned<D>;
using V = hn::Vec<D>;

HWY_INLINE int64_t Lanes() { return static_cast<int64_t>(hn::Lanes(D())); }

// clamp(t, lo, hi) to the nearest integer, plus z; a NaN becomes lo.
template <typename T>
HWY_INLINE void Put(V t, V zero, V lo, V hi, T* out) {
  const V low = hn::Sub(lo, zero);
  const V high = hn::Sub(hi, zero);
  t = hn::IfThenElse(hn::Gt(t, low), t, low);
  t = hn::IfThenElse(hn::Lt(t, high), t, high);
  const auto q = hn::Add(hn::NearestInt(t), hn::NearestInt(zero));
  const hn::Rebind<T, D> to;
  hn::StoreU(hn::DemoteTo(to, q), to, out);
}

template <typename T>
HWY_INLINE V Get(const T* q) {
  return hn::ConvertTo(D(), hn::PromoteTo(DI(), hn::LoadU(hn::Rebind<T, D>(), q)));
}

// The same, element by element.
template <typename T>
HWY_INLINE T PutOne(float t, float zero, IntegerRange range) {
  t = t > range.lo - zero ? t : range.lo - zero;
  t = t < range.hi - zero ? t : range.hi - zero;
  return static_cast<T>(static_cast<int32_t>(std::nearbyint(t)) + static_cast<int32_t>(zero));
}

template <typename T>
void Quantize(const float* x, int64_t count, const float* scales, const float* zeros, bool each,
              IntegerRange range, T* out) {
  const V lo = hn::Set(D(), range.lo);
  const V hi = hn::Set(D(), range.hi);
  const int64_t step = Lanes();
  int64_t i = 0;
  if (each) {
    for (; i + step <= count; i += step) {
      Put(hn::Div(hn::LoadU(D(), x + i), hn::LoadU(D(), scales + i)), hn::LoadU(D(), zeros + i), lo,
          hi, out + i);
    }
    for (; i < count; ++i) out[i] = PutOne<T>(x[i] / scales[i], zeros[i], range);
    return;
  }
  const V s = hn::Set(D(), *scales);
  const V z = hn::Set(D(), *zeros);
  for (; i + step <= count; i += step) {
    Put(hn::Div(hn::LoadU(D(), x + i), s), z, lo, hi, out + i);
  }
  for (; i < count; ++i) out[i] = PutOne<T>(x[i] / *scales, *zeros, range);
}

template <typename T>
void Requantize(const int32_t* sums, int64_t count, const float* multipliers, bool each, float zero,
                IntegerRange range, T* out) {
  const V lo = hn::Set(D(), range.lo);
  const V hi = hn::Set(D(), range.hi);
  const V z = hn::Set(D(), zero);
  const V one = hn::Set(D(), *multipliers);
  const int64_t step = Lanes();
  int64_t i = 0;
  for (; i + step <= count; i += step) {
    const V sum = hn::ConvertTo(D(), hn::LoadU(DI(), sums + i));
    const V m = each ? hn::LoadU(D(), multipliers + i) : one;
    Put(hn::Mul(sum, m), z, lo, hi, out + i);
  }
  for (; i < count; ++i) {
    const float m = each ? multipliers[i] : *multipliers;
    out[i] = PutOne<T>(static_cast<float>(sums[i]) * m, zero, range);
  }
}

template <typename T>
void Dequantize(const T* q, int64_t count, const float* scales, const float* zeros, bool each,
                float* out) {
  const int64_t step = Lanes();
  int64_t i = 0;
  if (each) {
    for (; i + step <= count; i += step) {
      const V centred = hn::Sub(Get(q + i), hn::LoadU(D(), zeros + i));
      hn::StoreU(hn::Mul(centred, hn::LoadU(D(), scales + i)), D(), out + i);
    }
    for (; i < count; ++i) out[i] = (static_cast<float>(q[i]) - zeros[i]) * scales[i];
    return;
  }
  const V s = hn::Set(D(), *scales);
  const V z = hn::Set(D(), *zeros);
  for (; i + step <= count; i += step) {
    hn::StoreU(hn::Mul(hn::Sub(Get(q + i), z), s), D(), out + i);
  }
  for (; i < count; ++i) out[i] = (static_cast<float>(q[i]) - *zeros) * *scales;
}

// The tables of functions that HWY_EXPORT makes are of functions, not of templates.
#define LATHE_FOR_TYPE(Name, T)                                                                  \
  void Quantize##Name(const float* x, int64_t count, const float* scales, const float* zeros,    \
                      bool each, IntegerRange range, T* out) {                                   \
    Quantize(x, count, scales, zeros, each, range, out);                                         \
  }                                                                                              \
  void Requantize##Name(const int32_t* sums, int64_t count, const float* multipliers, bool each, \
                        float zero, IntegerRange range, T* out) {                                \
    Requantize(sums, count, multipliers, each, zero, range, out);                                \
  }                                                                                              \
  void Dequantize##Name(const T* q, int64_t count, const float* scales, const float* zeros,      \
                        bool each, float* out) {                                                 \
    Dequantize(q, count, scales, zeros, each, out);                                              \
  }
LATHE_FOR_TYPE(Int8, int8_t)
LATHE_FOR_TYPE(Uint8, uint8_t)
LATHE_FOR_TYPE(Int16, int16_t)
LATHE_FOR_TYPE(Uint16, uint16_t)
#undef LATHE_FOR_TYPE

}  // namespace HWY_NAMESPACE
}  // namespace lathe::engine
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

namespace lathe::engine {
namespace {

#define LATHE_EXPORT(Name)      \
  HWY_EXPORT(Quantize##Name);   \
  HWY_EXPORT(Requantize##Name); \
  HWY_EXPORT(Dequantize##Name)
LATHE_EXPORT(Int8);
LATHE_EXPORT(Uint8);
LATHE_EXPORT(Int16);
LATHE_EXPORT(Uint16);
#undef LATHE_EXPORT

}  // namespace

#define LATHE_FOR_TYPE(Name, T)                                                                 \
  template <>                                                                                   \
  void QuantizeRun(const float* x, int64_t count, float scale, float zero, IntegerRange range,  \
                   T* out) {                                                                    \
    HWY_DYNAMIC_DISPATCH(Quantize##Name)(x, count, &scale, &zero, false, range, out);           \
  }                                                                                             \
  template <>                                                                                   \
  void QuantizeEach(const float* x, int64_t count, const float* scales, const float* zeros,     \
                    IntegerRange range, T* out) {                                               \
    HWY_DYNAMIC_DISPATCH(Quantize##Name)(x, count, scales, zeros, true, range, out);            \
  }                                                                                             \
  template <>                                                                                   \
  void RequantizeRun(const int32_t* sums, int64_t count, float multiplier, float zero,          \
                     IntegerRange range, T* out) {                                              \
    HWY_DYNAMIC_DISPATCH(Requantize##Name)(sums, count, &multiplier, false, zero, range, out);  \
  }                                                                                             \
  template <>                                                                                   \
  void RequantizeEach(const int32_t* sums, int64_t count, const float* multipliers, float zero, \
                      IntegerRange range, T* out) {                                             \
    HWY_DYNAMIC_DISPATCH(Requantize##Name)(sums, count, multipliers, true, zero, range, out);   \
  }                                                                                             \
  template <>                                                                                   \
  void DequantizeRun(const T* q, int64_t count, float scale, float zero, float* out) {          \
    HWY_DYNAMIC_DISPATCH(Dequantize##Name)(q, count, &scale, &zero, false, out);                \
  }                                                                                             \
  template <>                                                                                   \
  void DequantizeEach(const T* q, int64_t count, const float* scales, const float* zeros,       \
                      float* out) {                                                             \
    HWY_DYNAMIC_DISPATCH(Dequantize##Name)(q, count, scales, zeros, true, out);                 \
  }
LATHE_FOR_TYPE(Int8, int8_t)
LATHE_FOR_TYPE(Uint8, uint8_t)
LATHE_FOR_TYPE(Int16, int16_t)
LATHE_FOR_TYPE(Uint16, uint16_t)
#undef LATHE_FOR_TYPE

}  // namespace lathe::engine

#endif  // HWY_ONCE
