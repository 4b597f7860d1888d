// Compiled once for each instruction set and chosen when the program runs.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "worker/engine/kernels/elementwise.cc"
#include <hwy/foreach_target.h>
// Highway's own headers follow the target's.
#include <hwy/highway.h>

#include <algorithm>

#include "worker/engine/kernels/elementwise.h"
#include "worker/engine/kernels/elementwise_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lathe::engine {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using ED = hn::CappedTag<float, 16>;
using EV = hn::Vec<ED>;
constexpr int64_t kLanes = static_cast<int64_t>(hn::MaxLanes(ED()));

// The last few elements go through a vector of their own, so that every element is computed alike.
template <class Fn>
HWY_INLINE void Map(const float* in, int64_t count, float* out, const Fn& fn) {
  const ED d;
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) hn::StoreU(fn(hn::LoadU(d, in + i)), d, out + i);
  if (i == count) return;
  HWY_ALIGN float rest[kLanes] = {};
  std::copy(in + i, in + count, rest);
  hn::Store(fn(hn::Load(d, rest)), d, rest);
  std::copy(rest, rest + (count - i), out + i);
}

template <class Fn>
HWY_INLINE void Pair(const float* a, int64_t a_step, const float* b, int64_t b_step, int64_t count,
                     float* out, const Fn& fn) {
  const ED d;
  if (count <= 0) return;
  if (b_step == 0) {
    const EV right = hn::Set(d, b[0]);
    if (a_step != 0) return Map(a, count, out, [&](EV x) HWY_ATTR { return fn(x, right); });
    const float value = hn::GetLane(fn(hn::Set(d, a[0]), right));
    std::fill(out, out + count, value);
    return;
  }
  if (a_step == 0) {
    const EV left = hn::Set(d, a[0]);
    return Map(b, count, out, [&](EV x) HWY_ATTR { return fn(left, x); });
  }
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    hn::StoreU(fn(hn::LoadU(d, a + i), hn::LoadU(d, b + i)), d, out + i);
  }
  if (i == count) return;
  HWY_ALIGN float left[kLanes] = {};
  HWY_ALIGN float right[kLanes] = {};
  std::copy(a + i, a + count, left);
  std::copy(b + i, b + count, right);
  hn::Store(fn(hn::Load(d, left), hn::Load(d, right)), d, left);
  std::copy(left, left + (count - i), out + i);
}

void PairAll(PairOp op, const float* a, int64_t a_step, const float* b, int64_t b_step,
             int64_t count, float* out) {
  const auto run = [&](const auto& fn) HWY_ATTR { Pair(a, a_step, b, b_step, count, out, fn); };
  // x + y is NaN when either is.
  const auto unless_nan = [](EV x, EV y, EV result) HWY_ATTR {
    const EV sum = hn::Add(x, y);
    return hn::IfThenElse(hn::Or(hn::IsNaN(x), hn::IsNaN(y)), sum, result);
  };
  switch (op) {
    case PairOp::kAdd:
      return run([](EV x, EV y) HWY_ATTR { return hn::Add(x, y); });
    case PairOp::kSub:
      return run([](EV x, EV y) HWY_ATTR { return hn::Sub(x, y); });
    case PairOp::kMul:
      return run([](EV x, EV y) HWY_ATTR { return hn::Mul(x, y); });
    case PairOp::kDiv:
      return run([](EV x, EV y) HWY_ATTR { return hn::Div(x, y); });
    case PairOp::kMin:
      return run([&](EV x, EV y) HWY_ATTR { return unless_nan(x, y, hn::Min(x, y)); });
    case PairOp::kMax:
      return run([&](EV x, EV y) HWY_ATTR { return unless_nan(x, y, hn::Max(x, y)); });
  }
}

HWY_INLINE EV MishOf(EV x) {
  // tanh(log(1 + e)) = n / (n + 2) where n = e (e + 2); past 20 it is 1 in float32.
  const ED d;
  const EV e = elementwise_math::Exp(d, hn::Min(x, hn::Set(d, 20.0f)));
  const EV n = hn::Mul(e, hn::Add(e, hn::Set(d, 2.0f)));
  const EV value = hn::Mul(x, hn::Div(n, hn::Add(n, hn::Set(d, 2.0f))));
  const EV limited = hn::IfThenElse(hn::Lt(x, hn::Set(d, -100.0f)), hn::Neg(hn::Zero(d)), value);
  return elementwise_math::KeepNaN(d, x, hn::IfThenElse(hn::Gt(x, hn::Set(d, 20.0f)), x, limited));
}

// x / 2 (1 + t), which is 0 and not NaN at minus infinity.
HWY_INLINE EV GeluOf(EV x, EV t) {
  const ED d;
  const EV value = hn::Mul(hn::Mul(x, hn::Set(d, 0.5f)), hn::Add(hn::Set(d, 1.0f), t));
  return hn::IfThenElse(hn::Eq(t, hn::Set(d, -1.0f)), hn::Zero(d), value);
}

void MapAll(MapOp op, float alpha, float beta, const float* in, int64_t count, float* out) {
  namespace vm = elementwise_math;
  const ED d;
  const EV zero = hn::Zero(d);
  const EV one = hn::Set(d, 1.0f);
  const EV a = hn::Set(d, alpha);
  const EV b = hn::Set(d, beta);
  const auto run = [&](const auto& fn) HWY_ATTR { Map(in, count, out, fn); };
  const auto hard = [&](EV x) HWY_ATTR { return hn::Min(hn::Max(hn::MulAdd(x, a, b), zero), one); };
  switch (op) {
    case MapOp::kRelu:
      return run([&](EV x) HWY_ATTR { return vm::KeepNaN(d, x, hn::Max(x, zero)); });
    case MapOp::kLeakyRelu:
      return run([&](EV x) HWY_ATTR { return hn::IfThenElse(hn::Lt(x, zero), hn::Mul(x, a), x); });
    case MapOp::kClip:
      return run([&](EV x) HWY_ATTR { return vm::KeepNaN(d, x, hn::Min(hn::Max(x, a), b)); });
    case MapOp::kExp:
      return run([&](EV x) HWY_ATTR { return vm::Exp(d, x); });
    case MapOp::kSigmoid:
      return run([&](EV x) HWY_ATTR { return vm::Sigmoid(d, x); });
    case MapOp::kTanh:
      return run([&](EV x) HWY_ATTR { return vm::Tanh(d, x); });
    case MapOp::kErf:
      return run([&](EV x) HWY_ATTR { return vm::Erf(d, x); });
    case MapOp::kElu:
      return run([&](EV x) HWY_ATTR {
        // e^x - 1 = 2 tanh(x / 2) / (1 - tanh(x / 2)) keeps its digits near zero.
        const EV t = vm::Tanh(d, hn::Mul(x, hn::Set(d, 0.5f)));
        const EV near = hn::Div(hn::Add(t, t), hn::Sub(one, t));
        const EV far = hn::Sub(vm::Exp(d, x), one);
        const EV less = hn::IfThenElse(hn::Lt(x, hn::Set(d, -1.0f)), far, near);
        return hn::IfThenElse(hn::Lt(x, zero), hn::Mul(a, less), hn::Mul(b, x));
      });
    case MapOp::kHardSigmoid:
      return run([&](EV x) HWY_ATTR { return vm::KeepNaN(d, x, hard(x)); });
    case MapOp::kHardSwish:
      return run([&](EV x) HWY_ATTR { return hn::Mul(x, hard(x)); });
    case MapOp::kSwish:
      return run([&](EV x) HWY_ATTR { return hn::Mul(x, vm::Sigmoid(d, hn::Mul(x, a))); });
    case MapOp::kMish:
      return run([](EV x) HWY_ATTR { return MishOf(x); });
    case MapOp::kGelu:
      return run([&](EV x) HWY_ATTR {
        return GeluOf(x, vm::Erf(d, hn::Mul(x, hn::Set(d, 0.70710678118654752f))));
      });
    case MapOp::kGeluTanh:
      return run([&](EV x) HWY_ATTR {
        const EV inner = hn::MulAdd(hn::Mul(x, x), hn::Set(d, 0.044715f), one);
        const EV scaled = hn::Mul(hn::Mul(x, hn::Set(d, 0.79788456080286536f)), inner);
        return GeluOf(x, vm::Tanh(d, scaled));
      });
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace lathe::engine
HWY_AFTER_NAMESPACE();

#if HWY_ONCE

namespace lathe::engine {
namespace {

HWY_EXPORT(PairAll);
HWY_EXPORT(MapAll);

}  // namespace

void ApplyPair(PairOp op, const float* a, int64_t a_step, const float* b, int64_t b_step,
               int64_t count, float* out) {
  HWY_DYNAMIC_DISPATCH(PairAll)(op, a, a_step, b, b_step, count, out);
}

void ApplyMap(MapOp op, float alpha, float beta, const float* in, int64_t count, float* out) {
  HWY_DYNAMIC_DISPATCH(MapAll)(op, alpha, beta, in, count, out);
}

}  // namespace lathe::engine

#endif  // HWY_ONCE
