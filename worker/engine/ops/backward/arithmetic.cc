// Elementwise arithmetic with numpy's broadcasting: the gradient of an operand is summed over the
// axes along which it was broadcast.
#include <cmath>
#include <vector>

#include "common/status_macros.h"
#include "worker/engine/kernels/elementwise.h"
#include "worker/engine/ops/backward/backward.h"
#include "worker/engine/ops/backward/broadcast_pair.h"

namespace lathe::engine {
namespace {

absl::Status PassSummed(GradContext& ctx, size_t i, bool negated) {
  if (!ctx.Wants(i)) return absl::OkStatus();
  if (!negated && ctx.Dims(i) == ctx.Out(0).dims) {
    ctx.Pass(i, 0);
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const std::span<float> out, ctx.Emit(i));
  SumToShape(ctx.Grad(0), ctx.Out(0).dims, ctx.Dims(i), out);
  if (negated) {
    for (float& v : out) v = -v;
  }
  return absl::OkStatus();
}

// Where every operand has the sum's shape, gradients pass in any layout.
absl::Status AddGrad(GradContext& ctx) {
  bool alike = true;
  for (size_t i = 0; i < ctx.input_count(); ++i) alike &= ctx.Dims(i) == ctx.Out(0).dims;
  if (!alike) RETURN_IF_ERROR(ctx.MakePlain());
  for (size_t i = 0; i < ctx.input_count(); ++i) RETURN_IF_ERROR(PassSummed(ctx, i, false));
  return absl::OkStatus();
}

absl::Status SubGrad(GradContext& ctx) {
  RETURN_IF_ERROR(PassSummed(ctx, 0, false));
  return PassSummed(ctx, 1, true);
}

absl::Status MulGrad(GradContext& ctx) {
  for (size_t i = 0; i < 2; ++i) {
    RETURN_IF_ERROR(
        EmitPairwise(ctx, i, [i](float g, float a, float b) { return g * (i == 0 ? b : a); }));
  }
  return absl::OkStatus();
}

absl::Status DivGrad(GradContext& ctx) {
  RETURN_IF_ERROR(EmitPairwise(ctx, 0, [](float g, float, float b) { return g / b; }));
  return EmitPairwise(ctx, 1, [](float g, float a, float b) { return -g * a / (b * b); });
}

constexpr OpBackward kTable[] = {
    {"", "Add", AddGrad, kReadsNothing, kReadsNothing, kTakesBlockedValues},
    {"", "Div", DivGrad, 0b11},
    {"", "Mul", MulGrad, 0b11},
    {"", "Sub", SubGrad},
    {"", "Sum", AddGrad, kReadsNothing, kReadsNothing, kTakesBlockedValues},
};

}  // namespace

std::span<const OpBackward> ArithmeticBackwards() { return kTable; }

}  // namespace lathe::engine
