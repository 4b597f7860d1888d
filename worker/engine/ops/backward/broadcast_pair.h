// Gradients of elementwise operators with numpy's broadcasting.
#ifndef LATHE_WORKER_ENGINE_OPS_BACKWARD_BROADCAST_PAIR_H_
#define LATHE_WORKER_ENGINE_OPS_BACKWARD_BROADCAST_PAIR_H_

#include <cstdint>

#include "common/status_macros.h"
#include "worker/engine/ops/backward/grad_context.h"
#include "worker/engine/ops/forward/elementwise.h"

namespace lathe::engine {

// Emits for input `i`, which was broadcast to output 0, if its gradient is wanted: fill(out) writes
// its terms in output 0's shape, and they are summed over what was broadcast.
template <typename Fill>
absl::Status EmitSummed(GradContext& ctx, size_t i, Fill fill) {
  if (!ctx.Wants(i)) return absl::OkStatus();
  const Shape& from = ctx.Out(0).dims;
  if (ctx.Dims(i) == from) {
    ASSIGN_OR_RETURN(const std::span<float> out, ctx.Emit(i));
    return fill(out.data());
  }
  ASSIGN_OR_RETURN(Value wide, ctx.NewValue(from));
  RETURN_IF_ERROR(fill(wide.Mutable<float>().data()));
  ASSIGN_OR_RETURN(const std::span<float> out, ctx.Emit(i));
  SumToShape(wide.As<float>(), from, ctx.Dims(i), out);
  return absl::OkStatus();
}

// to[k] = derivative(g[k], a, b), k < count; the operands' steps are 0 or 1.
template <typename Fn>
void PairRun(const float* g, const float* a, int64_t a_step, const float* b, int64_t b_step,
             int64_t count, float* to, Fn derivative) {
  if (a_step != 0 && b_step != 0) {
    for (int64_t k = 0; k < count; ++k) to[k] = derivative(g[k], a[k], b[k]);
  } else if (a_step != 0) {
    const float right = b[0];
    for (int64_t k = 0; k < count; ++k) to[k] = derivative(g[k], a[k], right);
  } else {
    const float left = a[0];
    for (int64_t k = 0; k < count; ++k) to[k] = derivative(g[k], left, b[k * b_step]);
  }
}

// Emits for input `i` of a node on inputs 0 and 1, whose elements are `a` and `b`, the sum of
// derivative(g, a, b) over what was broadcast, if that gradient is wanted.
template <typename Fn>
absl::Status EmitPairwise(GradContext& ctx, size_t i, const float* a, const float* b,
                          Fn derivative) {
  return EmitSummed(ctx, i, [&](float* out) -> absl::Status {
    const auto walk = BroadcastWalk<2>::Make(ctx.Out(0).dims, {&ctx.Dims(0), &ctx.Dims(1)});
    if (!walk) return ctx.Error("the shapes do not broadcast");
    const float* g = ctx.Grad(0).data();
    walk->ForEachRun([&](int64_t at, const auto& from) {
      PairRun(g + at, a + from[0], walk->step(0), b + from[1], walk->step(1), walk->run(), out + at,
              derivative);
    });
    return absl::OkStatus();
  });
}

template <typename Fn>
absl::Status EmitPairwise(GradContext& ctx, size_t i, Fn derivative) {
  if (!ctx.Wants(i)) return absl::OkStatus();
  return EmitPairwise(ctx, i, ctx.X(0).data(), ctx.X(1).data(), derivative);
}

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_OPS_BACKWARD_BROADCAST_PAIR_H_
