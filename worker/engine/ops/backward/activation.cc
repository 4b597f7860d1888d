// Activation functions: G_x = f'(x) G_y. Where f has a kink, the derivative from the right, but for
// Relu and its kin at 0, which give 0 as everywhere.
#include <cmath>

#include "common/status_macros.h"
#include "worker/engine/ops/backward/backward.h"
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

constexpr OpBackward kTable[] = {
    {"", "Relu", ReluGrad, kReadsNothing, 1, kTakesBlockedValues},
    {"", "Sigmoid", SigmoidGrad, kReadsNothing, 1, kTakesBlockedValues},
    {"", "Tanh", TanhGrad, kReadsNothing, 1, kTakesBlockedValues},
};

}  // namespace

std::span<const OpBackward> ActivationBackwards() { return kTable; }

}  // namespace lathe::engine
