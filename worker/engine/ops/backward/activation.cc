// Activation functions: G_x = f'(x) G_y. Where f has a kink, the derivative from the right, but for
// Relu and its kin at 0, which give 0 as everywhere, and for Clip, whose bounds belong to the range
// through which the gradient passes.
#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include "common/status_macros.h"
#include "worker/engine/kernels/elementwise.h"
#include "worker/engine/kernels/row_grads.h"
#include "worker/engine/ops/backward/backward.h"
#include "worker/engine/ops/backward/broadcast_pair.h"
#include "worker/engine/ops/backward/map_grad.h"

namespace lathe::engine {
namespace {

absl::Status ReluGrad(GradContext& ctx) {
  return EmitFromOutput(ctx, [](float g, float y) { return y > 0 ? g : 0.0f; });
}

absl::Status SigmoidGrad(GradContext& ctx) {
  return EmitFromOutput(ctx, [](float g, float y) { return g * y * (1 - y); });
}

absl::Status TanhGrad(GradContext& ctx) {
  return EmitFromOutput(ctx, [](float g, float y) { return g * (1 - y * y); });
}

absl::Status LeakyReluGrad(GradContext& ctx) {
  const float alpha = ctx.node().FloatAttribute("alpha", 0.01F);
  return EmitFromInput(ctx, [=](float g, float x) { return x < 0 ? alpha * g : g; });
}

absl::Status ThresholdedReluGrad(GradContext& ctx) {
  const float alpha = ctx.node().FloatAttribute("alpha", 1);
  return EmitFromInput(ctx, [=](float g, float x) { return x <= alpha ? 0.0F : g; });
}

absl::Status ShrinkGrad(GradContext& ctx) {
  const float lambda = ctx.node().FloatAttribute("lambd", 0.5F);
  return EmitFromInput(ctx, [=](float g, float x) { return x < -lambda || x > lambda ? g : 0.0F; });
}

// f' = below e^(x / width) where x < 0, else above.
absl::Status ExponentialUnit(GradContext& ctx, float below, float width, float above) {
  return EmitDerivative(ctx, [=](const float* x, int64_t n, float* d) {
    for (int64_t i = 0; i < n; ++i) d[i] = std::min(x[i], 0.0F) / width;
    ApplyMap(MapOp::kExp, 0, 0, d, n, d);
    for (int64_t i = 0; i < n; ++i) d[i] = x[i] < 0 ? below * d[i] : above;
  });
}

absl::Status EluGrad(GradContext& ctx) {
  return ExponentialUnit(ctx, ctx.node().FloatAttribute("alpha", 1), 1, 1);
}

absl::Status SeluGrad(GradContext& ctx) {
  const float alpha = ctx.node().FloatAttribute("alpha", 1.67326319217681884765625F);
  const float gamma = ctx.node().FloatAttribute("gamma", 1.05070102214813232421875F);
  return ExponentialUnit(ctx, alpha * gamma, 1, gamma);
}

absl::Status CeluGrad(GradContext& ctx) {
  return ExponentialUnit(ctx, 1, ctx.node().FloatAttribute("alpha", 1), 1);
}

absl::Status HardSigmoidGrad(GradContext& ctx) {
  const float alpha = ctx.node().FloatAttribute("alpha", 0.2F);
  const float beta = ctx.node().FloatAttribute("beta", 0.5F);
  return EmitFromInput(ctx, [=](float g, float x) {
    const float y = alpha * x + beta;
    return y >= 0 && y < 1 ? alpha * g : 0.0F;
  });
}

absl::Status HardSwishGrad(GradContext& ctx) {
  return EmitFromInput(ctx, [](float g, float x) {
    return x < -3 ? 0.0F : x < 3 ? g * (x / 3 + 0.5F) : g;
  });
}

absl::Status SoftplusGrad(GradContext& ctx) {
  return EmitDerivative(
      ctx, [](const float* x, int64_t n, float* d) { ApplyMap(MapOp::kSigmoid, 0, 0, x, n, d); });
}

absl::Status SoftsignGrad(GradContext& ctx) {
  return EmitFromInput(ctx, [](float g, float x) {
    const float below = 1 + std::abs(x);
    return g / (below * below);
  });
}

// f = x tanh(p), p = log(1 + e^x): f' = tanh(p) + x (1 - tanh(p)^2) sigmoid(x).
absl::Status MishGrad(GradContext& ctx) {
  return EmitFromInput(ctx, [](float g, float x) {
    const float t = std::tanh(x > 20 ? x : std::log1p(std::exp(x)));
    const float s = x < 0 ? std::exp(x) / (1 + std::exp(x)) : 1 / (1 + std::exp(-x));
    return g * (t + x * (1 - t * t) * s);
  });
}

// f = x s, s = sigmoid(alpha x): f' = s + alpha x s (1 - s).
absl::Status SwishGradOf(GradContext& ctx, float alpha) {
  return EmitDerivative(ctx, [=](const float* x, int64_t n, float* d) {
    for (int64_t i = 0; i < n; ++i) d[i] = alpha * x[i];
    ApplyMap(MapOp::kSigmoid, 0, 0, d, n, d);
    for (int64_t i = 0; i < n; ++i) d[i] += alpha * x[i] * d[i] * (1 - d[i]);
  });
}

absl::Status SwishGrad(GradContext& ctx) {
  return SwishGradOf(ctx, ctx.node().FloatAttribute("alpha", 1));
}

absl::Status QuickGeluGrad(GradContext& ctx) {
  return SwishGradOf(ctx, ctx.node().FloatAttribute("alpha", 1.702F));
}

absl::Status GeluGrad(GradContext& ctx) {
  if (!ctx.Wants(0)) return absl::OkStatus();
  const bool tanh = ctx.node().StringAttribute("approximate", "none") == "tanh";
  const float* g = ctx.Grad(0).data();
  ASSIGN_OR_RETURN(const std::span<float> out, ctx.EmitInPlace(0, 0));
  GeluGradRun(static_cast<int64_t>(out.size()), tanh, ctx.X(0).data(), g, out.data());
  return absl::OkStatus();
}

// Of input 0 plus a bias that may be left out.
absl::Status BiasedGeluGrad(GradContext& ctx, bool tanh) {
  ASSIGN_OR_RETURN(Value grad, ctx.NewValue(ctx.Out(0).dims));
  float* to = grad.Mutable<float>().data();
  const float* x = ctx.X(0).data();
  if (ctx.Has(1)) {
    const auto walk = BroadcastWalk<2>::Make(ctx.Out(0).dims, {&ctx.Dims(0), &ctx.Dims(1)});
    if (!walk) return ctx.Error("the bias does not broadcast to input 0");
    walk->ForEachRun([&](int64_t at, const auto& from) {
      ApplyPair(PairOp::kAdd, x + from[0], walk->step(0), ctx.X(1).data() + from[1], walk->step(1),
                walk->run(), to + at);
    });
    x = to;
  }
  GeluGradRun(grad.size(), tanh, x, ctx.Grad(0).data(), to);
  if (ctx.Wants(1)) {
    ASSIGN_OR_RETURN(const std::span<float> out, ctx.Emit(1));
    SumToShape(grad.As<float>(), ctx.Out(0).dims, ctx.Dims(1), out);
  }
  if (ctx.Wants(0)) ctx.Set(0, std::move(grad));
  return absl::OkStatus();
}

absl::Status BiasGeluGrad(GradContext& ctx) { return BiasedGeluGrad(ctx, false); }
absl::Status FastGeluGrad(GradContext& ctx) { return BiasedGeluGrad(ctx, true); }

absl::Status PReluGrad(GradContext& ctx) {
  RETURN_IF_ERROR(
      EmitPairwise(ctx, 0, [](float g, float x, float slope) { return x < 0 ? g * slope : g; }));
  return EmitPairwise(ctx, 1, [](float g, float x, float) { return x < 0 ? g * x : 0.0F; });
}

// A bound has the gradient of what it replaced; where they cross, the upper one is the result.
absl::Status ClipGrad(GradContext& ctx) {
  float low = -std::numeric_limits<float>::infinity();
  float high = std::numeric_limits<float>::infinity();
  if (ctx.opset() < 11) {
    low = ctx.node().FloatAttribute("min", std::numeric_limits<float>::lowest());
    high = ctx.node().FloatAttribute("max", std::numeric_limits<float>::max());
  } else {
    low = static_cast<float>(ctx.Scalar(1, static_cast<double>(low)));
    high = static_cast<float>(ctx.Scalar(2, static_cast<double>(high)));
  }
  const std::span<const float> x = ctx.X(0);
  const std::span<const float> g = ctx.Grad(0);
  for (size_t bound = 1; bound < 3; ++bound) {
    if (!ctx.Wants(bound)) continue;
    double sum = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      const bool above = std::max(x[i], low) > high;
      const bool replaced = bound == 1 ? x[i] < low && !above : above;
      sum += replaced ? static_cast<double>(g[i]) : 0;
    }
    ASSIGN_OR_RETURN(const std::span<float> out, ctx.Emit(bound));
    std::fill(out.begin(), out.end(), static_cast<float>(sum));
  }
  return EmitFromInput(ctx, [=](float dy, float v) { return v >= low && v <= high ? dy : 0.0F; });
}

constexpr OpBackward kTable[] = {
    {"", "Celu", CeluGrad, 1},
    {"", "Clip", ClipGrad, 0b111},
    {"", "Elu", EluGrad, 1},
    {"", "Gelu", GeluGrad, 1},
    {"", "HardSigmoid", HardSigmoidGrad, 1},
    {"", "HardSwish", HardSwishGrad, 1},
    {"", "LeakyRelu", LeakyReluGrad, 1},
    {"", "Mish", MishGrad, 1},
    {"", "PRelu", PReluGrad, 0b11},
    {"", "Relu", ReluGrad, kReadsNothing, 1, kTakesBlockedValues},
    {"", "Selu", SeluGrad, 1},
    {"", "Shrink", ShrinkGrad, 1},
    {"", "Sigmoid", SigmoidGrad, kReadsNothing, 1, kTakesBlockedValues},
    {"", "Softplus", SoftplusGrad, 1},
    {"", "Softsign", SoftsignGrad, 1},
    {"", "Swish", SwishGrad, 1},
    {"", "Tanh", TanhGrad, kReadsNothing, 1, kTakesBlockedValues},
    {"", "ThresholdedRelu", ThresholdedReluGrad, 1},
    {"com.microsoft", "BiasGelu", BiasGeluGrad, 0b11},
    {"com.microsoft", "FastGelu", FastGeluGrad, 0b11},
    {"com.microsoft", "Gelu", GeluGrad, 1},
    {"com.microsoft", "QuickGelu", QuickGeluGrad, 1},
};

}  // namespace

std::span<const OpBackward> ActivationBackwards() { return kTable; }

}  // namespace lathe::engine
