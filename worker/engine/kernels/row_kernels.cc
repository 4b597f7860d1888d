#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "worker/engine/kernels/row_kernels.cc"
#include <hwy/foreach_target.h>
// Highway's own headers follow the target's.
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "worker/engine/kernels/row_kernels.h"
#include "worker/engine/kernels/row_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lathe::engine {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;
using vm::kWidth;
using vm::V;

constexpr int64_t kSlots = 16;
constexpr int64_t kVectors = kSlots / kWidth;

// A sum of fn over [0, count) in kSlots slots: fn takes a vector loaded from x.
template <typename Fn>
HWY_INLINE float SumOf(const float* x, int64_t count, Fn&& fn) {
  const vm::D d;
  V slots[kVectors];
  for (V& slot : slots) slot = hn::Zero(d);
  int64_t i = 0;
  for (; i + kSlots <= count; i += kSlots) {
    for (int64_t v = 0; v < kVectors; ++v) {
      slots[v] = hn::Add(slots[v], fn(hn::LoadU(d, x + i + v * kWidth)));
    }
  }
  HWY_ALIGN float lanes[kSlots];
  for (int64_t v = 0; v < kVectors; ++v) hn::Store(slots[v], d, lanes + v * kWidth);
  if (i < count) {
    HWY_ALIGN float rest[kSlots] = {};
    std::copy(x + i, x + count, rest);
    for (int64_t v = 0; v < kVectors; ++v) {
      hn::Store(fn(hn::Load(d, rest + v * kWidth)), d, rest + v * kWidth);
    }
    for (int64_t j = 0; j < count - i; ++j) lanes[j] += rest[j];
  }
  for (int64_t half = kSlots / 2; half > 0; half /= 2) {
    for (int64_t j = 0; j < half; ++j) lanes[j] += lanes[j + half];
  }
  return lanes[0];
}

HWY_INLINE float LargestOf(const float* x, int64_t count) {
  const vm::D d;
  V slots[kVectors];
  for (V& slot : slots) slot = vm::Set(-std::numeric_limits<float>::infinity());
  int64_t i = 0;
  for (; i + kSlots <= count; i += kSlots) {
    for (int64_t v = 0; v < kVectors; ++v) {
      slots[v] = hn::Max(slots[v], hn::LoadU(d, x + i + v * kWidth));
    }
  }
  for (int64_t v = 1; v < kVectors; ++v) slots[0] = hn::Max(slots[0], slots[v]);
  float largest = hn::GetLane(hn::MaxOfLanes(d, slots[0]));
  for (; i < count; ++i) largest = std::max(largest, x[i]);
  return largest;
}

void Softmax(int64_t rows, int64_t n, bool log, const float* x, float* y) {
  for (int64_t r = 0; r < rows; ++r, x += n, y += n) {
    const V largest = vm::Set(LargestOf(x, n));
    if (log) {
      const float sum = SumOf(x, n, [=](V v) { return vm::Exp(hn::Sub(v, largest)); });
      const V shift = hn::Add(largest, vm::Set(std::log(sum)));
      vm::MapRow(x, n, y, [=](V v) { return hn::Sub(v, shift); });
      continue;
    }
    vm::MapRow(x, n, y, [=](V v) { return vm::Exp(hn::Sub(v, largest)); });
    const V by = vm::Set(1.0f / SumOf(y, n, [](V v) { return v; }));
    vm::MapRow(y, n, y, [=](V v) { return hn::Mul(v, by); });
  }
}

void Normalize(int64_t rows, int64_t n, bool centered, float epsilon, const float* x,
               const float* scale, const float* bias, float* y, float* mean, float* inverse) {
  const vm::D d;
  const auto count = static_cast<float>(n);
  for (int64_t r = 0; r < rows; ++r, x += n, y += n) {
    const float middle = centered ? SumOf(x, n, [](V v) { return v; }) / count : 0.0f;
    const V m = vm::Set(middle);
    const float squares = SumOf(x, n, [=](V v) {
      const V away = hn::Sub(v, m);
      return hn::Mul(away, away);
    });
    const float by = 1.0f / std::sqrt(squares / count + epsilon);
    const V f = vm::Set(by);
    int64_t i = 0;
    for (; i + kWidth <= n; i += kWidth) {
      V v = hn::Mul(hn::Sub(hn::LoadU(d, x + i), m), f);
      if (scale != nullptr) v = hn::Mul(v, hn::LoadU(d, scale + i));
      if (bias != nullptr) v = hn::Add(v, hn::LoadU(d, bias + i));
      hn::StoreU(v, d, y + i);
    }
    for (; i < n; ++i) {
      const float v = (x[i] - middle) * by * (scale == nullptr ? 1.0f : scale[i]);
      y[i] = bias == nullptr ? v : v + bias[i];
    }
    if (mean != nullptr) mean[r] = middle;
    if (inverse != nullptr) inverse[r] = by;
  }
}

void Lstm(int64_t hidden, const float* gates, const float* peephole, float* c, float* h) {
  const vm::D d;
  const auto cell = [=](const float* i, const float* o, const float* f, const float* g,
                        const float* pi, const float* po, const float* pf, float* state,
                        float* out) HWY_ATTR {
    const V old = hn::LoadU(d, state);
    V in = hn::LoadU(d, i);
    V forget = hn::LoadU(d, f);
    V pass = hn::LoadU(d, o);
    if (pi != nullptr) {
      in = hn::MulAdd(hn::LoadU(d, pi), old, in);
      forget = hn::MulAdd(hn::LoadU(d, pf), old, forget);
    }
    const V fresh =
        hn::MulAdd(vm::Sigmoid(forget), old, hn::Mul(vm::Sigmoid(in), vm::Tanh(hn::LoadU(d, g))));
    if (po != nullptr) pass = hn::MulAdd(hn::LoadU(d, po), fresh, pass);
    hn::StoreU(fresh, d, state);
    hn::StoreU(hn::Mul(vm::Sigmoid(pass), vm::Tanh(fresh)), d, out);
  };
  const float* pi = peephole;
  const float* po = peephole == nullptr ? nullptr : peephole + hidden;
  const float* pf = peephole == nullptr ? nullptr : peephole + 2 * hidden;
  const auto at = [](const float* p, int64_t offset) { return p == nullptr ? p : p + offset; };
  int64_t k = 0;
  for (; k + kWidth <= hidden; k += kWidth) {
    cell(gates + k, gates + hidden + k, gates + 2 * hidden + k, gates + 3 * hidden + k, at(pi, k),
         at(po, k), at(pf, k), c + k, h + k);
  }
  if (k == hidden) return;
  HWY_ALIGN float rest[9][kWidth] = {};
  const int64_t live = hidden - k;
  for (int64_t g = 0; g < 4; ++g) std::copy_n(gates + g * hidden + k, live, rest[g]);
  if (peephole != nullptr) {
    for (int64_t g = 0; g < 3; ++g) std::copy_n(peephole + g * hidden + k, live, rest[4 + g]);
  }
  std::copy_n(c + k, live, rest[7]);
  cell(rest[0], rest[1], rest[2], rest[3], rest[4], rest[5], rest[6], rest[7], rest[8]);
  std::copy_n(rest[7], live, c + k);
  std::copy_n(rest[8], live, h + k);
}

void Affine(int64_t count, float scale, float shift, const float* x, float* y) {
  const V a = vm::Set(scale);
  const V b = vm::Set(shift);
  vm::MapRow(x, count, y, [=](V v) { return hn::MulAdd(v, a, b); });
}

}  // namespace HWY_NAMESPACE
}  // namespace lathe::engine
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lathe::engine {
namespace {

HWY_EXPORT(Softmax);
HWY_EXPORT(Normalize);
HWY_EXPORT(Lstm);
HWY_EXPORT(Affine);

}  // namespace

void SoftmaxRows(int64_t rows, int64_t n, bool log, const float* x, float* y) {
  if (n > 0) HWY_DYNAMIC_DISPATCH(Softmax)(rows, n, log, x, y);
}

void NormalizeRows(int64_t rows, int64_t n, bool centered, float epsilon, const float* x,
                   const float* scale, const float* bias, float* y, float* mean, float* inverse) {
  if (n > 0) {
    HWY_DYNAMIC_DISPATCH(Normalize)(rows, n, centered, epsilon, x, scale, bias, y, mean, inverse);
  }
}

void LstmCell(int64_t hidden, const float* gates, const float* peephole, float* c, float* h) {
  HWY_DYNAMIC_DISPATCH(Lstm)(hidden, gates, peephole, c, h);
}

void ScaleShift(int64_t count, float scale, float shift, const float* x, float* y) {
  HWY_DYNAMIC_DISPATCH(Affine)(count, scale, shift, x, y);
}

}  // namespace lathe::engine
#endif  // HWY_ONCE
