// Activation functions. Formulas are ONNX's; parameters come from the node's attributes.
#include <cmath>
#include <limits>
#include <string>

#include "common/status_macros.h"
#include "worker/engine/kernels/elementwise.h"
#include "worker/engine/ops/forward/elementwise.h"
#include "worker/engine/ops/forward/forward.h"
#include "worker/engine/ops/forward/map_elements.h"

namespace lathe::engine {
namespace {

template <class T>
T LogisticOf(T x) {
  return x < 0 ? std::exp(x) / (1 + std::exp(x)) : 1 / (1 + std::exp(-x));
}

template <class T>
T HardSigmoidOf(T x, float alpha, float beta) {
  const T value = alpha * x + beta;
  return value < 0 ? T(0) : value > 1 ? T(1) : value;
}

struct ReluFn {
  explicit ReluFn(const Node&) {}
  template <class T>
  T operator()(T x) const {
    return x < T(0) ? T(0) : x;
  }
  VectorMap Vector() const { return {MapOp::kRelu}; }
};

struct LeakyReluFn {
  explicit LeakyReluFn(const Node& node) : alpha(node.FloatAttribute("alpha", 0.01F)) {}
  template <class T>
  T operator()(T x) const {
    return x < 0 ? static_cast<T>(alpha) * x : x;
  }
  VectorMap Vector() const { return {MapOp::kLeakyRelu, alpha}; }
  float alpha;
};

struct EluFn {
  explicit EluFn(const Node& node) : alpha(node.FloatAttribute("alpha", 1)) {}
  template <class T>
  T operator()(T x) const {
    return x < 0 ? static_cast<T>(alpha) * std::expm1(x) : x;
  }
  VectorMap Vector() const { return {MapOp::kElu, alpha, 1}; }
  float alpha;
};

struct SeluFn {
  explicit SeluFn(const Node& node)
      : alpha(node.FloatAttribute("alpha", 1.67326319217681884765625F)),
        gamma(node.FloatAttribute("gamma", 1.05070102214813232421875F)) {}
  template <class T>
  T operator()(T x) const {
    return static_cast<T>(gamma) * (x < 0 ? static_cast<T>(alpha) * std::expm1(x) : x);
  }
  VectorMap Vector() const { return {MapOp::kElu, gamma * alpha, gamma}; }
  float alpha;
  float gamma;
};

struct CeluFn {
  explicit CeluFn(const Node& node) : alpha(node.FloatAttribute("alpha", 1)) {}
  template <class T>
  T operator()(T x) const {
    return x < 0 ? static_cast<T>(alpha) * std::expm1(x / static_cast<T>(alpha)) : x;
  }
  float alpha;
};

struct HardSigmoidFn {
  explicit HardSigmoidFn(const Node& node)
      : alpha(node.FloatAttribute("alpha", 0.2F)), beta(node.FloatAttribute("beta", 0.5F)) {}
  template <class T>
  T operator()(T x) const {
    return HardSigmoidOf(x, alpha, beta);
  }
  VectorMap Vector() const { return {MapOp::kHardSigmoid, alpha, beta}; }
  float alpha;
  float beta;
};

struct HardSwishFn {
  explicit HardSwishFn(const Node&) {}
  template <class T>
  T operator()(T x) const {
    return x * HardSigmoidOf(x, 1.0F / 6, 0.5F);
  }
  VectorMap Vector() const { return {MapOp::kHardSwish, 1.0F / 6, 0.5F}; }
};

struct MishFn {
  explicit MishFn(const Node&) {}
  template <class T>
  T operator()(T x) const {
    return x * std::tanh(x > 20 ? x : std::log1p(std::exp(x)));
  }
  VectorMap Vector() const { return {MapOp::kMish}; }
};

struct SigmoidFn {
  explicit SigmoidFn(const Node&) {}
  template <class T>
  T operator()(T x) const {
    return LogisticOf(x);
  }
  VectorMap Vector() const { return {MapOp::kSigmoid}; }
};

struct TanhFn {
  explicit TanhFn(const Node&) {}
  template <class T>
  T operator()(T x) const {
    return std::tanh(x);
  }
  VectorMap Vector() const { return {MapOp::kTanh}; }
};

// log(1 + e^x), without overflow.
struct SoftplusFn {
  explicit SoftplusFn(const Node&) {}
  template <class T>
  T operator()(T x) const {
    return x > 0 ? x + std::log1p(std::exp(-x)) : std::log1p(std::exp(x));
  }
};

struct SoftsignFn {
  explicit SoftsignFn(const Node&) {}
  template <class T>
  T operator()(T x) const {
    return x / (1 + std::abs(x));
  }
};

struct ThresholdedReluFn {
  explicit ThresholdedReluFn(const Node& node) : alpha(node.FloatAttribute("alpha", 1)) {}
  template <class T>
  T operator()(T x) const {
    return x <= static_cast<T>(alpha) ? T(0) : x;
  }
  float alpha;
};

struct ShrinkFn {
  explicit ShrinkFn(const Node& node)
      : lambda(node.FloatAttribute("lambd", 0.5F)), bias(node.FloatAttribute("bias", 0)) {}
  template <class T>
  T operator()(T x) const {
    const auto value = static_cast<double>(x);
    const double moved = value < -lambda ? value + bias : value > lambda ? value - bias : 0;
    if constexpr (std::is_integral_v<T>) {
      return Saturated<T>(moved);
    } else {
      return std::isnan(x) ? x : static_cast<T>(moved);
    }
  }
  double lambda;
  double bias;
};

struct SwishFn {
  explicit SwishFn(const Node& node, float fallback = 1)
      : alpha(node.FloatAttribute("alpha", fallback)) {}
  template <class T>
  T operator()(T x) const {
    return x * LogisticOf(static_cast<T>(alpha) * x);
  }
  VectorMap Vector() const { return {MapOp::kSwish, alpha}; }
  float alpha;
};

struct QuickGeluFn : SwishFn {
  explicit QuickGeluFn(const Node& node) : SwishFn(node, 1.702F) {}
};

struct GeluFn {
  explicit GeluFn(const Node& node) : tanh(node.StringAttribute("approximate", "none") == "tanh") {}
  template <class T>
  T operator()(T x) const {
    const T half = x / 2;
    if (tanh) {
      const T root = static_cast<T>(std::sqrt(2 / M_PI));
      return half * (1 + std::tanh(root * (x + static_cast<T>(0.044715) * x * x * x)));
    }
    return half * (1 + std::erf(x * static_cast<T>(M_SQRT1_2)));
  }
  VectorMap Vector() const { return {tanh ? MapOp::kGeluTanh : MapOp::kGelu}; }
  bool tanh;
};

// An activation whose functor is made from the node.
template <class Fn, unsigned kinds = kFloats>
absl::Status Activate(RunContext& ctx) {
  return MapElements<kinds>(ctx, Fn(ctx.node()));
}

template <class T>
struct ClipFn {
  T operator()(T x) const {
    const T above = x < low ? low : x;
    return above > high ? high : above;
  }
  VectorMap Vector() const {
    return {MapOp::kClip, static_cast<float>(low), static_cast<float>(high)};
  }
  T low = std::numeric_limits<T>::lowest();
  T high = std::numeric_limits<T>::max();
};

// Of unbounded sides infinity stays what it is.
absl::Status Clip(RunContext& ctx) {
  RETURN_IF_ERROR(CheckTensors(ctx, 1));
  const DType dtype = ctx.In(0).dtype;
  for (size_t i = 1; i < 3 && ctx.opset() >= 11; ++i) {
    if (!ctx.Has(i)) continue;
    if (!ctx.In(i).IsTensor() || ctx.In(i).dtype != dtype || ctx.In(i).size() != 1) {
      return ctx.Error("the bounds must be scalars of the type of input 0");
    }
  }
  return VisitNumber(ctx, dtype, [&](auto zero) -> absl::Status {
    using T = decltype(zero);
    ClipFn<T> clip;
    if constexpr (!std::is_integral_v<T>) {
      clip.low = -std::numeric_limits<T>::infinity();
      clip.high = std::numeric_limits<T>::infinity();
    }
    if (ctx.opset() < 11) {
      if constexpr (!std::is_integral_v<T>) {
        clip.low = ctx.node().FloatAttribute("min", std::numeric_limits<float>::lowest());
        clip.high = ctx.node().FloatAttribute("max", std::numeric_limits<float>::max());
      }
    } else {
      if (ctx.Has(1)) clip.low = ctx.Data<T>(1)[0];
      if (ctx.Has(2)) clip.high = ctx.Data<T>(2)[0];
    }
    return MapTyped<T>(ctx, clip);
  });
}

// x < 0 ? slope x : x; the slope broadcasts to x.
absl::Status PRelu(RunContext& ctx) {
  RETURN_IF_ERROR(CheckSameType(ctx, 2));
  const Value& in = ctx.In(0);
  return VisitNumber(ctx, in.dtype, [&](auto zero) -> absl::Status {
    using T = decltype(zero);
    ASSIGN_OR_RETURN(Value * out, ctx.OutInPlace(0, 0, in.dtype, in.dims));
    return BroadcastPair<T, T, T>(ctx, in, ctx.In(1), *out, [](T x, T slope) {
      if constexpr (std::is_integral_v<T>) {
        return x < T(0)
                   ? static_cast<T>(static_cast<Wrapping<T>>(x) * static_cast<Wrapping<T>>(slope))
                   : x;
      } else {
        return x < 0 ? slope * x : x;
      }
    });
  });
}

// GELU of input 0 plus a bias [last extent] that may be left out. com.microsoft's.
absl::Status BiasedGelu(RunContext& ctx, MapOp op) {
  RETURN_IF_ERROR(CheckTensors(ctx, 1));
  const Value& in = ctx.In(0);
  if (in.dtype != DType::kFloat) return ctx.Error("it takes floats");
  ASSIGN_OR_RETURN(Value * out, ctx.OutInPlace(0, 0, in.dtype, in.dims));
  const float* from = in.As<float>().data();
  float* to = out->Mutable<float>().data();
  if (ctx.Has(1)) {
    RETURN_IF_ERROR(CheckSameType(ctx, 2));
    const Value& bias = ctx.In(1);
    const auto walk = BroadcastWalk<2>::Make(in.dims, {&in.dims, &bias.dims});
    if (!walk) return ctx.Error("the bias does not broadcast to input 0");
    const float* add = bias.As<float>().data();
    walk->ForEachRun([&](int64_t at, const auto& offsets) {
      ApplyPair(PairOp::kAdd, from + offsets[0], walk->step(0), add + offsets[1], walk->step(1),
                walk->run(), to + at);
    });
    from = to;
  }
  ApplyMap(op, 0, 0, from, in.size(), to);
  return absl::OkStatus();
}

absl::Status BiasGelu(RunContext& ctx) { return BiasedGelu(ctx, MapOp::kGelu); }
absl::Status FastGelu(RunContext& ctx) { return BiasedGelu(ctx, MapOp::kGeluTanh); }

constexpr OpForward kForwards[] = {
    {"", "Celu", Activate<CeluFn>, kMapFlags},
    {"", "Clip", Clip, kMapFlags},
    {"", "Elu", Activate<EluFn>, kMapFlags},
    {"", "Gelu", Activate<GeluFn>, kMapFlags},
    {"", "HardSigmoid", Activate<HardSigmoidFn>, kMapFlags},
    {"", "HardSwish", Activate<HardSwishFn>, kMapFlags},
    {"", "LeakyRelu", Activate<LeakyReluFn>, kMapFlags},
    {"", "Mish", Activate<MishFn>, kMapFlags},
    {"", "PRelu", PRelu, kComputesInFloat | kTakesDouble},
    {"", "Relu", Activate<ReluFn, kNumbers>, kMapFlags},
    {"", "Selu", Activate<SeluFn>, kMapFlags},
    {"", "Shrink", Activate<ShrinkFn, kNumbers>, kMapFlags},
    {"", "Sigmoid", Activate<SigmoidFn>, kMapFlags},
    {"", "Softplus", Activate<SoftplusFn>, kMapFlags},
    {"", "Softsign", Activate<SoftsignFn>, kMapFlags},
    {"", "Swish", Activate<SwishFn>, kMapFlags},
    {"", "Tanh", Activate<TanhFn>, kMapFlags},
    {"", "ThresholdedRelu", Activate<ThresholdedReluFn>, kMapFlags},
    {"com.microsoft", "BiasGelu", BiasGelu, kComputesInFloat},
    {"com.microsoft", "FastGelu", FastGelu, kComputesInFloat},
    {"com.microsoft", "Gelu", Activate<GeluFn>, kMapFlags},
    {"com.microsoft", "QuickGelu", Activate<QuickGeluFn>, kMapFlags},
};

}  // namespace

std::span<const OpForward> ActivationForwards() { return kForwards; }

}  // namespace lathe::engine
