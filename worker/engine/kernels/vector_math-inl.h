// Elementary functions on vectors of floats. Included by kernels that are compiled once for each
// instruction set; the same arithmetic for each of them, but for fused multiply-adds.
#if defined(LATHE_WORKER_ENGINE_KERNELS_VECTOR_MATH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LATHE_WORKER_ENGINE_KERNELS_VECTOR_MATH_INL_H_
#undef LATHE_WORKER_ENGINE_KERNELS_VECTOR_MATH_INL_H_
#else
#define LATHE_WORKER_ENGINE_KERNELS_VECTOR_MATH_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace lathe::engine {
namespace HWY_NAMESPACE {
namespace vm {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::CappedTag<float, 16>;
using V = hn::Vec<D>;
constexpr int64_t kWidth = static_cast<int64_t>(hn::MaxLanes(D()));

HWY_INLINE V Set(float value) { return hn::Set(D(), value); }

// e^x = 2^n e^r with |r| <= ln 2 / 2; e^r by a polynomial of degree 6 (Cephes expf): relative error
// below 2 ulp. Below -87.3 the result is the smallest normal number or 0; above 88.37 it is 2^128 =
// infinity. NaN gives NaN.
HWY_INLINE V Exp(V x) {
  const hn::Rebind<int32_t, D> di;
  const V clamped = hn::Min(hn::Max(x, Set(-104.0f)), Set(88.8f));
  const V n = hn::Round(hn::Mul(clamped, Set(1.44269504088896341f)));
  V r = hn::NegMulAdd(n, Set(0.693359375f), clamped);
  r = hn::NegMulAdd(n, Set(-2.12194440e-4f), r);
  V p = Set(1.9875691500e-4f);
  p = hn::MulAdd(p, r, Set(1.3981999507e-3f));
  p = hn::MulAdd(p, r, Set(8.3334519073e-3f));
  p = hn::MulAdd(p, r, Set(4.1665795894e-2f));
  p = hn::MulAdd(p, r, Set(1.6666665459e-1f));
  p = hn::MulAdd(p, r, Set(5.0000001201e-1f));
  p = hn::Add(hn::MulAdd(p, hn::Mul(r, r), r), Set(1.0f));
  // Two factors, so that 2^n neither over- nor underflows before the product does.
  const auto whole = hn::ConvertTo(di, n);
  const auto half = hn::ShiftRight<1>(whole);
  const auto rest = hn::Sub(whole, half);
  const auto bias = hn::Set(di, 127);
  const V scale1 = hn::BitCast(D(), hn::ShiftLeft<23>(hn::Add(half, bias)));
  const V scale2 = hn::BitCast(D(), hn::ShiftLeft<23>(hn::Add(rest, bias)));
  const V result = hn::Mul(hn::Mul(p, scale1), scale2);
  return hn::IfThenElse(hn::IsNaN(x), x, result);
}

// 1 / (1 + e^-x).
HWY_INLINE V Sigmoid(V x) { return hn::Div(Set(1.0f), hn::Add(Set(1.0f), Exp(hn::Neg(x)))); }

// A quotient of polynomials of degrees 13 and 6 (Eigen's ptanh), within a few ulp; +-1 past 8.3.
HWY_INLINE V Tanh(V x) {
  const V limit = Set(7.90531110763549805f);
  const V t = hn::Min(hn::Max(x, hn::Neg(limit)), limit);
  const V s = hn::Mul(t, t);
  V p = Set(-2.76076847742355e-16f);
  p = hn::MulAdd(p, s, Set(2.00018790482477e-13f));
  p = hn::MulAdd(p, s, Set(-8.60467152213735e-11f));
  p = hn::MulAdd(p, s, Set(5.12229709037114e-08f));
  p = hn::MulAdd(p, s, Set(1.48572235717979e-05f));
  p = hn::MulAdd(p, s, Set(6.37261928875436e-04f));
  p = hn::MulAdd(p, s, Set(4.89352455891786e-03f));
  p = hn::Mul(p, t);
  V q = Set(1.19825839466702e-06f);
  q = hn::MulAdd(q, s, Set(1.18534705686654e-04f));
  q = hn::MulAdd(q, s, Set(2.26843463243900e-03f));
  q = hn::MulAdd(q, s, Set(4.89352518554385e-03f));
  // From 8.3 on 1 is nearer than the quotient's end, 1 - 2.4e-7.
  const V value =
      hn::IfThenElse(hn::Gt(hn::Abs(x), Set(8.3f)), hn::CopySign(Set(1.0f), x), hn::Div(p, q));
  return hn::IfThenElse(hn::IsNaN(x), x, value);
}

// Abramowitz and Stegun 7.1.26 is too coarse; this is Eigen's rational approximation on [-4, 4]:
// absolute error below 1e-7, +-1 outside.
HWY_INLINE V Erf(V x) {
  const V t = hn::Min(hn::Max(x, Set(-4.0f)), Set(4.0f));
  const V s = hn::Mul(t, t);
  V p = Set(-2.72614225801306e-10f);
  p = hn::MulAdd(p, s, Set(2.77068142495902e-08f));
  p = hn::MulAdd(p, s, Set(-2.10102402082508e-06f));
  p = hn::MulAdd(p, s, Set(-5.69250639462346e-05f));
  p = hn::MulAdd(p, s, Set(-7.34990630326855e-04f));
  p = hn::MulAdd(p, s, Set(-2.95459980854025e-03f));
  p = hn::MulAdd(p, s, Set(-1.60960333262415e-02f));
  p = hn::Mul(p, t);
  V q = Set(-1.45660718464996e-05f);
  q = hn::MulAdd(q, s, Set(-2.13374055278905e-04f));
  q = hn::MulAdd(q, s, Set(-1.68282697438203e-03f));
  q = hn::MulAdd(q, s, Set(-7.37332916720468e-03f));
  q = hn::MulAdd(q, s, Set(-1.42647390514189e-02f));
  return hn::IfThenElse(hn::IsNaN(x), x, hn::Div(p, q));
}

// x Phi(x).
HWY_INLINE V Gelu(V x) {
  const V half = hn::Mul(x, Set(0.5f));
  return hn::MulAdd(half, Erf(hn::Mul(x, Set(0.70710678118654752f))), half);
}

// The approximation of Gelu with tanh.
HWY_INLINE V GeluTanh(V x) {
  const V cube = hn::Mul(hn::Mul(x, x), x);
  const V inner = hn::Mul(Set(0.79788456080286536f), hn::MulAdd(cube, Set(0.044715f), x));
  const V half = hn::Mul(x, Set(0.5f));
  return hn::MulAdd(half, Tanh(inner), half);
}

// Calls fn(offset, vector of lanes) over [0, count), the last vector being padded with 0; stores
// what it returns to `y`. `x` may be `y`.
template <typename Fn>
HWY_INLINE void MapRow(const float* x, int64_t count, float* y, Fn&& fn) {
  const D d;
  int64_t i = 0;
  for (; i + kWidth <= count; i += kWidth) hn::StoreU(fn(hn::LoadU(d, x + i)), d, y + i);
  if (i == count) return;
  HWY_ALIGN float rest[kWidth] = {};
  for (int64_t j = i; j < count; ++j) rest[j - i] = x[j];
  hn::Store(fn(hn::Load(d, rest)), d, rest);
  for (int64_t j = i; j < count; ++j) y[j] = rest[j - i];
}

}  // namespace vm
}  // namespace HWY_NAMESPACE
}  // namespace lathe::engine
HWY_AFTER_NAMESPACE();

#endif  // LATHE_WORKER_ENGINE_KERNELS_VECTOR_MATH_INL_H_
