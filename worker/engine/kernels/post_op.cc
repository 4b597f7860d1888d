#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "worker/engine/kernels/post_op.cc"
#include <hwy/foreach_target.h>
// Highway's own headers follow the target's.
#include <hwy/highway.h>

#include <algorithm>
#include <cmath>

#include "worker/engine/kernels/post_op.h"
#include "worker/engine/kernels/row_math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace lathe::engine {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

void Apply(const PostOp& op, int64_t count, float* x) {
  using vm::V;
  const V zero = vm::Set(0.0f);
  const V one = vm::Set(1.0f);
  const V alpha = vm::Set(op.alpha);
  const V beta = vm::Set(op.beta);
  switch (op.kind) {
    case PostOp::Kind::kNone:
      return;
    case PostOp::Kind::kRelu:
      // The operand order keeps NaN.
      return vm::MapRow(x, count, x, [=](V v) { return hn::IfThenElse(hn::Lt(v, zero), zero, v); });
    case PostOp::Kind::kClip:
      return vm::MapRow(x, count, x, [=](V v) {
        const V high = hn::IfThenElse(hn::Lt(v, alpha), alpha, v);
        return hn::IfThenElse(hn::Gt(high, beta), beta, high);
      });
    case PostOp::Kind::kLeakyRelu:
      return vm::MapRow(x, count, x,
                        [=](V v) { return hn::IfThenElse(hn::Lt(v, zero), hn::Mul(v, alpha), v); });
    case PostOp::Kind::kElu:
      return vm::MapRow(x, count, x, [=](V v) {
        return hn::IfThenElse(hn::Lt(v, zero), hn::Mul(alpha, hn::Sub(vm::Exp(v), one)), v);
      });
    case PostOp::Kind::kSigmoid:
      return vm::MapRow(x, count, x, [](V v) { return vm::Sigmoid(v); });
    case PostOp::Kind::kTanh:
      return vm::MapRow(x, count, x, [](V v) { return vm::Tanh(v); });
    case PostOp::Kind::kHardSigmoid:
      return vm::MapRow(x, count, x, [=](V v) {
        return hn::Min(hn::Max(hn::MulAdd(v, alpha, beta), zero), one);
      });
    case PostOp::Kind::kHardSwish:
      return vm::MapRow(x, count, x, [=](V v) {
        const V gate = hn::MulAdd(v, vm::Set(1.0f / 6), vm::Set(0.5f));
        return hn::Mul(v, hn::Min(hn::Max(gate, zero), one));
      });
    case PostOp::Kind::kSilu:
      return vm::MapRow(x, count, x,
                        [=](V v) { return hn::Mul(v, vm::Sigmoid(hn::Mul(v, alpha))); });
    case PostOp::Kind::kGelu:
      return vm::MapRow(x, count, x, [](V v) { return vm::Gelu(v); });
    case PostOp::Kind::kGeluTanh:
      return vm::MapRow(x, count, x, [](V v) { return vm::GeluTanh(v); });
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace lathe::engine
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lathe::engine {
namespace {

HWY_EXPORT(Apply);

}  // namespace

void ApplyPostOp(const PostOp& op, int64_t count, float* x) {
  HWY_DYNAMIC_DISPATCH(Apply)(op, count, x);
}

float ReferencePostOp(const PostOp& op, float x) {
  const auto sigmoid = [](float v) { return 1.0f / (1.0f + std::exp(-v)); };
  switch (op.kind) {
    case PostOp::Kind::kNone:
      return x;
    case PostOp::Kind::kRelu:
      return x < 0 ? 0.0f : x;
    case PostOp::Kind::kClip: {
      const float high = x < op.alpha ? op.alpha : x;
      return high > op.beta ? op.beta : high;
    }
    case PostOp::Kind::kLeakyRelu:
      return x < 0 ? op.alpha * x : x;
    case PostOp::Kind::kElu:
      return x < 0 ? op.alpha * std::expm1(x) : x;
    case PostOp::Kind::kSigmoid:
      return sigmoid(x);
    case PostOp::Kind::kTanh:
      return std::tanh(x);
    case PostOp::Kind::kHardSigmoid:
      return std::min(std::max(op.alpha * x + op.beta, 0.0f), 1.0f);
    case PostOp::Kind::kHardSwish:
      return x * std::min(std::max(x / 6 + 0.5f, 0.0f), 1.0f);
    case PostOp::Kind::kSilu:
      return x * sigmoid(op.alpha * x);
    case PostOp::Kind::kGelu:
      return 0.5f * x * (1.0f + std::erf(x * 0.70710678f));
    case PostOp::Kind::kGeluTanh:
      return 0.5f * x * (1.0f + std::tanh(0.79788456f * (x + 0.044715f * x * x * x)));
  }
  return x;
}

}  // namespace lathe::engine
#endif  // HWY_ONCE
