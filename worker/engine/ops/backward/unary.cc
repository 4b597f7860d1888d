// Functions of one element, G_x = f'(x) G_y, operators that hand their input on, and sums along an
// axis.
#include <cmath>
#include <cstdint>
#include <optional>
#include <vector>

#include "common/status_macros.h"
#include "worker/engine/kernels/elementwise.h"
#include "worker/engine/ops/backward/backward.h"
#include "worker/engine/ops/backward/map_grad.h"
#include "worker/engine/ops/op_context.h"

namespace lathe::engine {
namespace {

using Gradient = float (*)(float g, float v);

template <Gradient kGradient>
absl::Status OfInput(GradContext& ctx) {
  return EmitFromInput(ctx, [](float g, float x) { return kGradient(g, x); });
}

template <Gradient kGradient>
absl::Status OfOutput(GradContext& ctx) {
  return EmitFromOutput(ctx, [](float g, float y) { return kGradient(g, y); });
}

// 0 at 0.
float AbsGrad(float g, float x) { return x > 0 ? g : x < 0 ? -g : 0.0F; }
float AcosGrad(float g, float x) { return -g / std::sqrt((1 - x) * (1 + x)); }
float AcoshGrad(float g, float x) { return g / std::sqrt((x - 1) * (x + 1)); }
float AsinGrad(float g, float x) { return g / std::sqrt((1 - x) * (1 + x)); }
float AsinhGrad(float g, float x) { return g / std::sqrt(x * x + 1); }
float AtanGrad(float g, float x) { return g / (1 + x * x); }
float AtanhGrad(float g, float x) { return g / ((1 - x) * (1 + x)); }
float CosGrad(float g, float x) { return -g * std::sin(x); }
float CoshGrad(float g, float x) { return g * std::sinh(x); }
float ExpGrad(float g, float y) { return g * y; }
float LogGrad(float g, float x) { return g / x; }
float ReciprocalGrad(float g, float y) { return -g * y * y; }
float SinGrad(float g, float x) { return g * std::cos(x); }
float SinhGrad(float g, float x) { return g * std::cosh(x); }
float SqrtGrad(float g, float y) { return g / (2 * y); }
float TanGrad(float g, float y) { return g * (1 + y * y); }

// f' = 2 / sqrt(pi) e^(-x^2).
absl::Status ErfGrad(GradContext& ctx) {
  return EmitDerivative(ctx, [](const float* x, int64_t n, float* d) {
    for (int64_t i = 0; i < n; ++i) d[i] = -x[i] * x[i];
    ApplyMap(MapOp::kExp, 0, 0, d, n, d);
    constexpr auto kFactor = static_cast<float>(M_2_SQRTPI);
    for (int64_t i = 0; i < n; ++i) d[i] *= kFactor;
  });
}

absl::Status NegGrad(GradContext& ctx) {
  if (!ctx.Wants(0)) return absl::OkStatus();
  const float* g = ctx.Grad(0).data();
  ASSIGN_OR_RETURN(const std::span<float> out, ctx.EmitInPlace(0, 0));
  for (size_t i = 0; i < out.size(); ++i) out[i] = -g[i];
  return absl::OkStatus();
}

// Identity; Dropout, which drops nothing in any run that the engine does; a cast between floats, or
// from integers that stand for reals.
absl::Status PassGrad(GradContext& ctx) {
  if (ctx.Wants(0)) ctx.Pass(0, 0);
  return absl::OkStatus();
}

// The sum from the other end.
absl::Status CumSumGrad(GradContext& ctx) {
  if (!ctx.Wants(0)) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::vector<int64_t> axes, ctx.Ints(1));
  const Shape& dims = ctx.Dims(0);
  const auto axis =
      axes.empty() ? std::nullopt : NormalAxis(axes[0], static_cast<int64_t>(dims.size()));
  if (!axis) return ctx.Error("axis must name an axis of input 0");
  const bool exclusive = ctx.node().IntAttribute("exclusive", 0) != 0;
  const bool reverse = ctx.node().IntAttribute("reverse", 0) != 0;
  int64_t outer = 1;
  int64_t inner = 1;
  for (int64_t i = 0; i < *axis; ++i) outer *= dims[i];
  for (size_t i = *axis + 1; i < dims.size(); ++i) inner *= dims[i];
  const int64_t length = dims[*axis];
  ASSIGN_OR_RETURN(const std::span<float> out, ctx.Emit(0));
  const float* g = ctx.Grad(0).data();
  for (int64_t o = 0; o < outer; ++o) {
    for (int64_t step = 0; step < length; ++step) {
      // Element `at` was added to all from itself on, but to itself when exclusive.
      const int64_t at = (o * length + (reverse ? step : length - 1 - step)) * inner;
      const int64_t next = reverse ? -inner : inner;
      for (int64_t j = at; j < at + inner; ++j) {
        if (step == 0) {
          out[j] = exclusive ? 0.0F : g[j];
        } else {
          out[j] = out[j + next] + g[exclusive ? j + next : j];
        }
      }
    }
  }
  return absl::OkStatus();
}

// y_i = start + i delta; how many there are has no gradient, and with it the limit.
absl::Status RangeGrad(GradContext& ctx) {
  double sum = 0;
  double products = 0;
  const std::span<const float> g = ctx.Grad(0);
  for (size_t i = 0; i < g.size(); ++i) {
    sum += static_cast<double>(g[i]);
    products += static_cast<double>(g[i]) * static_cast<double>(i);
  }
  if (ctx.Wants(0)) {
    ASSIGN_OR_RETURN(const std::span<float> out, ctx.Emit(0));
    out[0] = static_cast<float>(sum);
  }
  if (ctx.Wants(2)) {
    ASSIGN_OR_RETURN(const std::span<float> out, ctx.Emit(2));
    out[0] = static_cast<float>(products);
  }
  return absl::OkStatus();
}

constexpr OpBackward kTable[] = {
    {"", "Abs", OfInput<AbsGrad>, 1},
    {"", "Acos", OfInput<AcosGrad>, 1},
    {"", "Acosh", OfInput<AcoshGrad>, 1},
    {"", "Asin", OfInput<AsinGrad>, 1},
    {"", "Asinh", OfInput<AsinhGrad>, 1},
    {"", "Atan", OfInput<AtanGrad>, 1},
    {"", "Atanh", OfInput<AtanhGrad>, 1},
    {"", "Cast", PassGrad},
    {"", "CastLike", PassGrad},
    {"", "Cos", OfInput<CosGrad>, 1},
    {"", "Cosh", OfInput<CoshGrad>, 1},
    {"", "CumSum", CumSumGrad},
    {"", "Dropout", PassGrad},
    {"", "Erf", ErfGrad, 1},
    {"", "Exp", OfOutput<ExpGrad>, kReadsNothing, 1},
    {"", "Identity", PassGrad, kReadsNothing, kReadsNothing, kThroughIntegers},
    {"", "Log", OfInput<LogGrad>, 1},
    {"", "Neg", NegGrad},
    {"", "Range", RangeGrad},
    {"", "Reciprocal", OfOutput<ReciprocalGrad>, kReadsNothing, 1},
    {"", "Sin", OfInput<SinGrad>, 1},
    {"", "Sinh", OfInput<SinhGrad>, 1},
    {"", "Sqrt", OfOutput<SqrtGrad>, kReadsNothing, 1},
    {"", "Tan", OfOutput<TanGrad>, kReadsNothing, 1},
};

}  // namespace

std::span<const OpBackward> UnaryBackwards() { return kTable; }

}  // namespace lathe::engine
