// Gradients of operators that map each element of input 0 on its own.
#ifndef LATHE_WORKER_ENGINE_OPS_BACKWARD_MAP_GRAD_H_
#define LATHE_WORKER_ENGINE_OPS_BACKWARD_MAP_GRAD_H_

#include <algorithm>
#include <cstdint>

#include "common/status_macros.h"
#include "worker/engine/ops/backward/grad_context.h"

namespace lathe::engine {

// G_x = gradient(G_y, y), element by element. For operators that take blocked values gradient(0, 0)
// must be 0.
template <typename Fn>
absl::Status EmitFromOutput(GradContext& ctx, Fn gradient) {
  if (!ctx.Wants(0)) return absl::OkStatus();
  RETURN_IF_ERROR(ctx.Align());
  const float* g = ctx.Grad(0).data();
  const float* y = ctx.Y(0).data();
  ASSIGN_OR_RETURN(const std::span<float> out, ctx.EmitInPlace(0, 0));
  for (size_t i = 0; i < out.size(); ++i) out[i] = gradient(g[i], y[i]);
  return absl::OkStatus();
}

// G_x = gradient(G_y, x), element by element. Likewise.
template <typename Fn>
absl::Status EmitFromInput(GradContext& ctx, Fn gradient) {
  if (!ctx.Wants(0)) return absl::OkStatus();
  RETURN_IF_ERROR(ctx.Align());
  const float* g = ctx.Grad(0).data();
  const float* x = ctx.X(0).data();
  ASSIGN_OR_RETURN(const std::span<float> out, ctx.EmitInPlace(0, 0));
  for (size_t i = 0; i < out.size(); ++i) out[i] = gradient(g[i], x[i]);
  return absl::OkStatus();
}

// Elements that are worked on at a time where it takes temporaries, so that those stay in the
// first-level cache.
inline constexpr int64_t kMapChunk = 512;

// G_x = G_y f'(x): derivative(x, count, d) writes f' of `count` elements, kMapChunk at most.
template <typename Fn>
absl::Status EmitDerivative(GradContext& ctx, Fn derivative) {
  if (!ctx.Wants(0)) return absl::OkStatus();
  const float* g = ctx.Grad(0).data();
  const float* x = ctx.X(0).data();
  ASSIGN_OR_RETURN(const std::span<float> out, ctx.EmitInPlace(0, 0));
  const auto count = static_cast<int64_t>(out.size());
  float d[kMapChunk];
  for (int64_t begin = 0; begin < count; begin += kMapChunk) {
    const int64_t n = std::min(kMapChunk, count - begin);
    derivative(x + begin, n, d);
    for (int64_t i = 0; i < n; ++i) out[begin + i] = g[begin + i] * d[i];
  }
  return absl::OkStatus();
}

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_OPS_BACKWARD_MAP_GRAD_H_
