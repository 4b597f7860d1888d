// Exp, tanh, erf and what is made of them on vectors of float32. Errors against float64, checked by
// tests/unit/worker/engine/kernels/elementwise_test.cc: at most 4 units in the last place of the
// result, or 2e-7 absolute. NaN gives NaN; infinities give the limits.
#if defined(LATHE_WORKER_ENGINE_KERNELS_ELEMENTWISE_MATH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LATHE_WORKER_ENGINE_KERNELS_ELEMENTWISE_MATH_INL_H_
#undef LATHE_WORKER_ENGINE_KERNELS_ELEMENTWISE_MATH_INL_H_
#else
#define LATHE_WORKER_ENGINE_KERNELS_ELEMENTWISE_MATH_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace lathe::engine {
namespace HWY_NAMESPACE {
namespace elementwise_math {
namespace hn = hwy::HWY_NAMESPACE;

// c[0] + c[1] x + ... + c[n - 1] x^(n - 1).
template <class D, size_t n, class V = hn::Vec<D>>
HWY_INLINE V Polynomial(D d, V x, const float (&c)[n]) {
  V sum = hn::Set(d, c[n - 1]);
  for (size_t i = n - 1; i-- > 0;) sum = hn::MulAdd(sum, x, hn::Set(d, c[i]));
  return sum;
}

// x limited to [low, high]; of NaN anything.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Limit(D d, V x, float low, float high) {
  return hn::Min(hn::Max(x, hn::Set(d, low)), hn::Set(d, high));
}

template <class D, class V = hn::Vec<D>>
HWY_INLINE V KeepNaN(D, V x, V result) {
  return hn::IfThenElse(hn::IsNaN(x), x, result);
}

// e^x = 2^n e^r, n = round(x / ln 2): the polynomial of Cephes' expf on r. 2^n is made in two
// halves, so that results near both ends of the range come out too.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Exp(D d, V x) {
  const hn::RebindToSigned<D> di;
  constexpr float kTerms[] = {5.0000001201e-1f, 1.6666665459e-1f, 4.1665795894e-2f,
                              8.3334519073e-3f, 1.3981999507e-3f, 1.9875691500e-4f};
  const V limited = Limit(d, x, -106.0f, 89.0f);
  const V n = hn::Round(hn::Mul(limited, hn::Set(d, 1.44269504088896341f)));
  V r = hn::NegMulAdd(n, hn::Set(d, 0.693359375f), limited);
  r = hn::NegMulAdd(n, hn::Set(d, -2.12194440e-4f), r);
  const V one = hn::Set(d, 1.0f);
  const V e = hn::MulAdd(Polynomial(d, r, kTerms), hn::Mul(r, r), hn::Add(r, one));
  const auto whole = hn::ConvertTo(di, n);
  const auto half = hn::ShiftRight<1>(whole);
  const auto power = [&](auto exponent) HWY_ATTR {
    return hn::BitCast(d, hn::ShiftLeft<23>(hn::Add(exponent, hn::Set(di, 127))));
  };
  return KeepNaN(d, x, hn::Mul(hn::Mul(e, power(half)), power(hn::Sub(whole, half))));
}

// 1 / (1 + e^-x), from e^-abs(x), which cannot overflow.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Sigmoid(D d, V x) {
  const V one = hn::Set(d, 1.0f);
  const V e = Exp(d, hn::Neg(hn::Abs(x)));
  return hn::Div(hn::IfThenElse(hn::Lt(x, hn::Zero(d)), e, one), hn::Add(one, e));
}

// An odd rational function, as Eigen's.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Tanh(D d, V x) {
  constexpr float kAbove[] = {4.89352455891786e-03f, 6.37261928875436e-04f,  1.48572235717979e-05f,
                              5.12229709037114e-08f, -8.60467152213735e-11f, 2.00018790482477e-13f,
                              -2.76076847742355e-16f};
  constexpr float kBelow[] = {4.89352518554385e-03f, 2.26843463243900e-03f, 1.18534705686654e-04f,
                              1.19825839466702e-06f};
  const V limited = Limit(d, x, -7.90531110763549805f, 7.90531110763549805f);
  const V square = hn::Mul(limited, limited);
  const V value =
      hn::Div(hn::Mul(limited, Polynomial(d, square, kAbove)), Polynomial(d, square, kBelow));
  const auto tiny = hn::Lt(hn::Abs(x), hn::Set(d, 0.0004f));
  // From here on 1 is nearer than the quotient's end, 1 - 2.4e-7.
  const auto flat = hn::Gt(hn::Abs(x), hn::Set(d, 8.3f));
  const V ends = hn::IfThenElse(flat, hn::CopySign(hn::Set(d, 1.0f), x), value);
  return KeepNaN(d, x, hn::IfThenElse(tiny, x, ends));
}

// Likewise.
template <class D, class V = hn::Vec<D>>
HWY_INLINE V Erf(D d, V x) {
  constexpr float kAbove[] = {-1.60960333262415e-02f, -2.95459980854025e-03f,
                              -7.34990630326855e-04f, -5.69250639462346e-05f,
                              -2.10102402082508e-06f, 2.77068142495902e-08f,
                              -2.72614225801306e-10f};
  constexpr float kBelow[] = {-1.42647390514189e-02f, -7.37332916720468e-03f,
                              -1.68282697438203e-03f, -2.13374055278905e-04f,
                              -1.45660718464996e-05f};
  const V limited = Limit(d, x, -4.0f, 4.0f);
  const V square = hn::Mul(limited, limited);
  const V value =
      hn::Div(hn::Mul(limited, Polynomial(d, square, kAbove)), Polynomial(d, square, kBelow));
  return KeepNaN(d, x, Limit(d, value, -1.0f, 1.0f));
}

}  // namespace elementwise_math
}  // namespace HWY_NAMESPACE
}  // namespace lathe::engine
HWY_AFTER_NAMESPACE();

#endif  // LATHE_WORKER_ENGINE_KERNELS_ELEMENTWISE_MATH_INL_H_
