#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "worker/engine/kernels/row_grads.cc"
#include <hwy/foreach_target.h>
// Highway's own headers follow the target's.
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>

#include "worker/engine/kernels/row_grads.h"
#include "worker/engine/kernels/row_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lathe::engine {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
using vm::kWidth;
using vm::V;

constexpr int64_t kSlots = 16;
constexpr int64_t kVectors = kSlots / kWidth;

// A sum in kSlots slots.
struct Slots {
  V v[kVectors];
  HWY_INLINE Slots() {
    for (V& slot : v) slot = hn::Zero(vm::D());
  }
  HWY_INLINE float Total() const {
    HWY_ALIGN float lanes[kSlots];
    for (int64_t k = 0; k < kVectors; ++k) hn::Store(v[k], vm::D(), lanes + k * kWidth);
    for (int64_t half = kSlots / 2; half > 0; half /= 2) {
      for (int64_t j = 0; j < half; ++j) lanes[j] += lanes[j + half];
    }
    return lanes[0];
  }
};

// Calls fn(slot, a, b) over the vectors of two runs, the last of which are padded with `pad`.
template <typename Fn>
HWY_INLINE void ForEachSlot(const float* a, const float* b, int64_t count, float pad, Fn&& fn) {
  const vm::D d;
  int64_t i = 0;
  for (; i + kSlots <= count; i += kSlots) {
    for (int64_t k = 0; k < kVectors; ++k) {
      fn(k, hn::LoadU(d, a + i + k * kWidth), hn::LoadU(d, b + i + k * kWidth));
    }
  }
  if (i == count) return;
  HWY_ALIGN float rest_a[kSlots];
  HWY_ALIGN float rest_b[kSlots];
  std::fill_n(rest_a, kSlots, pad);
  std::fill_n(rest_b, kSlots, 0.0F);
  std::copy(a + i, a + count, rest_a);
  std::copy(b + i, b + count, rest_b);
  for (int64_t k = 0; k < kVectors; ++k) {
    fn(k, hn::Load(d, rest_a + k * kWidth), hn::Load(d, rest_b + k * kWidth));
  }
}

// out[i] := fn(a[i], b[i]); `out` may be a or b.
template <typename Fn>
HWY_INLINE void MapPair(const float* a, const float* b, int64_t count, float* out, Fn&& fn) {
  const vm::D d;
  int64_t i = 0;
  for (; i + kWidth <= count; i += kWidth) {
    hn::StoreU(fn(hn::LoadU(d, a + i), hn::LoadU(d, b + i)), d, out + i);
  }
  if (i == count) return;
  HWY_ALIGN float rest_a[kWidth] = {};
  HWY_ALIGN float rest_b[kWidth] = {};
  std::copy(a + i, a + count, rest_a);
  std::copy(b + i, b + count, rest_b);
  hn::Store(fn(hn::Load(d, rest_a), hn::Load(d, rest_b)), d, rest_a);
  std::copy_n(rest_a, count - i, out + i);
}

void SoftmaxGrad(int64_t rows, int64_t n, bool log, const float* y, const float* g, float* dx) {
  for (int64_t r = 0; r < rows; ++r, y += n, g += n, dx += n) {
    Slots sum;
    if (log) {
      ForEachSlot(g, y, n, 0, [&](int64_t k, V dy, V) { sum.v[k] = hn::Add(sum.v[k], dy); });
      const V total = vm::Set(sum.Total());
      MapPair(g, y, n, dx, [=](V dy, V v) { return hn::NegMulAdd(vm::Exp(v), total, dy); });
      continue;
    }
    ForEachSlot(g, y, n, 0, [&](int64_t k, V dy, V v) { sum.v[k] = hn::MulAdd(dy, v, sum.v[k]); });
    const V total = vm::Set(sum.Total());
    MapPair(g, y, n, dx, [=](V dy, V v) { return hn::Mul(v, hn::Sub(dy, total)); });
  }
}

void NormalizeGrad(const NormalizeGradArgs& a) {
  const vm::D d;
  const int64_t n = a.n;
  const auto count = static_cast<float>(n);
  float middle = 0;
  if (a.centered) {
    Slots sum;
    ForEachSlot(a.x, a.x, n, 0, [&](int64_t k, V x, V) { sum.v[k] = hn::Add(sum.v[k], x); });
    middle = sum.Total() / count;
  }
  const V m = vm::Set(middle);
  Slots squares;
  ForEachSlot(a.x, a.x, n, middle, [&](int64_t k, V x, V) {
    const V away = hn::Sub(x, m);
    squares.v[k] = hn::MulAdd(away, away, squares.v[k]);
  });
  const float by = 1.0F / std::sqrt(squares.Total() / count + a.epsilon);
  const V f = vm::Set(by);
  Slots sum;       // of g scale
  Slots products;  // of that times the normalized x
  int64_t i = 0;
  for (; i + kSlots <= n; i += kSlots) {
    for (int64_t k = 0; k < kVectors; ++k) {
      const int64_t at = i + k * kWidth;
      const V x = hn::Mul(hn::Sub(hn::LoadU(d, a.x + at), m), f);
      V g = hn::LoadU(d, a.g + at);
      if (a.dscale != nullptr) {
        hn::StoreU(hn::MulAdd(g, x, hn::LoadU(d, a.dscale + at)), d, a.dscale + at);
      }
      if (a.dbias != nullptr) hn::StoreU(hn::Add(g, hn::LoadU(d, a.dbias + at)), d, a.dbias + at);
      if (a.scale != nullptr) g = hn::Mul(g, hn::LoadU(d, a.scale + at));
      sum.v[k] = hn::Add(sum.v[k], g);
      products.v[k] = hn::MulAdd(g, x, products.v[k]);
    }
  }
  float total = sum.Total();
  float product = products.Total();
  for (; i < n; ++i) {
    const float x = (a.x[i] - middle) * by;
    if (a.dscale != nullptr) a.dscale[i] += a.g[i] * x;
    if (a.dbias != nullptr) a.dbias[i] += a.g[i];
    const float g = a.scale == nullptr ? a.g[i] : a.g[i] * a.scale[i];
    total += g;
    product += g * x;
  }
  if (a.dx == nullptr) return;
  // d inverse / dx = -inverse^2 (normalized x) / n.
  const float c0 = ((a.centered ? -by * total : 0) + a.mean_grad) / count;
  const float c1 = -(by * product + a.inverse_grad * by * by) / count;
  const V c = vm::Set(c0);
  const V along = vm::Set(c1);
  for (i = 0; i + kWidth <= n; i += kWidth) {
    const V x = hn::Mul(hn::Sub(hn::LoadU(d, a.x + i), m), f);
    V g = hn::Mul(hn::LoadU(d, a.g + i), f);
    if (a.scale != nullptr) g = hn::Mul(g, hn::LoadU(d, a.scale + i));
    hn::StoreU(hn::MulAdd(along, x, hn::Add(g, c)), d, a.dx + i);
  }
  for (; i < n; ++i) {
    const float g = a.g[i] * by * (a.scale == nullptr ? 1.0F : a.scale[i]);
    a.dx[i] = c1 * ((a.x[i] - middle) * by) + (g + c0);
  }
}

void AddSums(int64_t count, float center, const float* x, const float* g, CenteredSums& sums) {
  // So short that the slots' own rounding stays near a single one's.
  constexpr int64_t kRun = 1024;
  const V c = vm::Set(center);
  for (int64_t begin = 0; begin < count; begin += kRun) {
    const int64_t n = std::min(kRun, count - begin);
    Slots away;
    Slots squares;
    Slots grads;
    Slots products;
    ForEachSlot(x + begin, g + begin, n, center, [&](int64_t k, V v, V dy) {
      const V d = hn::Sub(v, c);
      away.v[k] = hn::Add(away.v[k], d);
      squares.v[k] = hn::MulAdd(d, d, squares.v[k]);
      grads.v[k] = hn::Add(grads.v[k], dy);
      products.v[k] = hn::MulAdd(dy, d, products.v[k]);
    });
    sums.d += static_cast<double>(away.Total());
    sums.squares += static_cast<double>(squares.Total());
    sums.g += static_cast<double>(grads.Total());
    sums.products += static_cast<double>(products.Total());
  }
}

void Combine(int64_t count, float a, float b, float center, float c, const float* g, const float* x,
             float* dx) {
  const V va = vm::Set(a);
  const V vb = vm::Set(b);
  const V vcenter = vm::Set(center);
  const V vc = vm::Set(c);
  MapPair(g, x, count, dx,
          [=](V dy, V v) { return hn::MulAdd(va, dy, hn::MulAdd(vb, hn::Sub(v, vcenter), vc)); });
}

void GeluGrad(int64_t count, bool tanh, const float* x, const float* g, float* dx) {
  const V half = vm::Set(0.5F);
  const V one = vm::Set(1.0F);
  if (tanh) {
    // f = x / 2 (1 + t), t = tanh(c (x + b x^3)): f' = (1 + t + x (1 - t^2) c (1 + 3 b x^2)) / 2.
    const V c = vm::Set(0.79788456080286536F);
    const V b = vm::Set(0.044715F);
    const V b3 = vm::Set(3 * 0.044715F);
    MapPair(x, g, count, dx, [=](V v, V dy) {
      const V square = hn::Mul(v, v);
      const V t = vm::Tanh(hn::Mul(hn::Mul(c, v), hn::MulAdd(b, square, one)));
      const V slope = hn::Mul(c, hn::MulAdd(b3, square, one));
      const V bend = hn::Mul(hn::Mul(v, hn::NegMulAdd(t, t, one)), slope);
      return hn::Mul(dy, hn::Mul(half, hn::Add(hn::Add(one, t), bend)));
    });
    return;
  }
  // f = x P(x), P the normal distribution, p its density: f' = P(x) + x p(x).
  const V root_half = vm::Set(0.70710678118654752F);
  const V density = vm::Set(0.39894228040143268F);  // 1 / sqrt(2 pi)
  const V minus_half = vm::Set(-0.5F);
  MapPair(x, g, count, dx, [=](V v, V dy) {
    const V phi = hn::MulAdd(half, vm::Erf(hn::Mul(v, root_half)), half);
    const V p = hn::Mul(density, vm::Exp(hn::Mul(minus_half, hn::Mul(v, v))));
    return hn::Mul(dy, hn::MulAdd(v, p, phi));
  });
}

}  // namespace HWY_NAMESPACE
}  // namespace lathe::engine
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lathe::engine {
namespace {

HWY_EXPORT(SoftmaxGrad);
HWY_EXPORT(NormalizeGrad);
HWY_EXPORT(AddSums);
HWY_EXPORT(Combine);
HWY_EXPORT(GeluGrad);

}  // namespace

void SoftmaxGradRows(int64_t rows, int64_t n, bool log, const float* y, const float* g, float* dx) {
  if (n > 0) HWY_DYNAMIC_DISPATCH(SoftmaxGrad)(rows, n, log, y, g, dx);
}

void NormalizeGradRow(const NormalizeGradArgs& args) {
  if (args.n > 0) HWY_DYNAMIC_DISPATCH(NormalizeGrad)(args);
}

void AddCenteredSums(int64_t count, float center, const float* x, const float* g,
                     CenteredSums& sums) {
  HWY_DYNAMIC_DISPATCH(AddSums)(count, center, x, g, sums);
}

void CombineCentered(int64_t count, float a, float b, float center, float c, const float* g,
                     const float* x, float* dx) {
  HWY_DYNAMIC_DISPATCH(Combine)(count, a, b, center, c, g, x, dx);
}

void GeluGradRun(int64_t count, bool tanh, const float* x, const float* g, float* dx) {
  HWY_DYNAMIC_DISPATCH(GeluGrad)(count, tanh, x, g, dx);
}

}  // namespace lathe::engine
#endif  // HWY_ONCE
