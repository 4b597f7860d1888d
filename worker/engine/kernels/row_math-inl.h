// elementwise_math-inl.h at one width for whole rows: at most 16 lanes. Included by kernels that
// are compiled once for each instruction set; the same arithmetic for each of them, but for fused
// multiply-adds.
#if defined(LATHE_WORKER_ENGINE_KERNELS_ROW_MATH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef LATHE_WORKER_ENGINE_KERNELS_ROW_MATH_INL_H_
#undef LATHE_WORKER_ENGINE_KERNELS_ROW_MATH_INL_H_
#else
#define LATHE_WORKER_ENGINE_KERNELS_ROW_MATH_INL_H_
#endif

#include <hwy/highway.h>

#include <cstdint>

#include "worker/engine/kernels/elementwise_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lathe::engine {
namespace HWY_NAMESPACE {
namespace vm {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::CappedTag<float, 16>;
using V = hn::Vec<D>;
constexpr int64_t kWidth = static_cast<int64_t>(hn::MaxLanes(D()));

HWY_INLINE V Set(float value) { return hn::Set(D(), value); }
HWY_INLINE V Exp(V x) { return elementwise_math::Exp(D(), x); }
HWY_INLINE V Sigmoid(V x) { return elementwise_math::Sigmoid(D(), x); }
HWY_INLINE V Tanh(V x) { return elementwise_math::Tanh(D(), x); }
HWY_INLINE V Erf(V x) { return elementwise_math::Erf(D(), x); }

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

#endif  // LATHE_WORKER_ENGINE_KERNELS_ROW_MATH_INL_H_
