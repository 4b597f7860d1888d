// Gradients of elementwise operators on two broadcast operands.
#ifndef LATHE_WORKER_ENGINE_OPS_BACKWARD_BROADCAST_PAIR_H_
#define LATHE_WORKER_ENGINE_OPS_BACKWARD_BROADCAST_PAIR_H_

#include <cstdint>
#include <vector>

#include "common/status_macros.h"
#include "worker/engine/ops/backward/grad_context.h"
#include "worker/engine/ops/op_context.h"

namespace lathe::engine {

// Strides, in elements, with which a value of shape `from` is read to fill shape `to` that it
// broadcasts to; 0 along broadcast axes.
std::vector<int64_t> BroadcastStrides(const Shape& from, const Shape& to);

// Calls fn(row, a, b) for each run along the last axis of `to`: `row` is the run's first element,
// a and b are those of the operands.
template <typename Fn>
void ForEachRow(const Shape& to, const std::vector<int64_t>& a_strides,
                const std::vector<int64_t>& b_strides, Fn fn) {
  int64_t rows = 1;
  for (size_t i = 0; i + 1 < to.size(); ++i) rows *= to[i];
  const int64_t run = to.empty() ? 1 : to.back();
  if (run == 0) return;
  Shape at(to.size(), 0);
  int64_t a = 0;
  int64_t b = 0;
  for (int64_t row = 0; row < rows; ++row) {
    fn(row * run, a, b);
    for (size_t i = to.size() < 2 ? 0 : to.size() - 1; i-- > 0;) {
      a += a_strides[i];
      b += b_strides[i];
      if (++at[i] < to[i]) break;
      a -= a_strides[i] * to[i];
      b -= b_strides[i] * to[i];
      at[i] = 0;
    }
  }
}

// Emits for input `i` of a node on inputs 0 and 1 the sum of derivative(g, a, b) over what was
// broadcast, if that gradient is wanted.
template <typename Fn>
absl::Status EmitPairwise(GradContext& ctx, size_t i, Fn derivative) {
  if (!ctx.Wants(i)) return absl::OkStatus();
  const Shape& to = ctx.Out(0).dims;
  const bool whole = ctx.Dims(i) == to;
  Value wide;
  std::span<float> out;
  if (whole) {
    ASSIGN_OR_RETURN(out, ctx.Emit(i));
  } else {
    ASSIGN_OR_RETURN(wide, ctx.NewValue(to));
    out = wide.Mutable<float>();
  }
  const std::vector<int64_t> a_strides = BroadcastStrides(ctx.Dims(0), to);
  const std::vector<int64_t> b_strides = BroadcastStrides(ctx.Dims(1), to);
  const float* a = ctx.X(0).data();
  const float* b = ctx.X(1).data();
  const float* g = ctx.Grad(0).data();
  const int64_t run = to.empty() ? 1 : to.back();
  const int64_t a_step = to.empty() ? 0 : a_strides.back();
  const int64_t b_step = to.empty() ? 0 : b_strides.back();
  ForEachRow(to, a_strides, b_strides, [&](int64_t row, int64_t a_at, int64_t b_at) {
    for (int64_t k = 0; k < run; ++k) {
      out[row + k] = derivative(g[row + k], a[a_at + k * a_step], b[b_at + k * b_step]);
    }
  });
  if (whole) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::span<float> summed, ctx.Emit(i));
  SumToShape(out, to, ctx.Dims(i), summed);
  return absl::OkStatus();
}

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_OPS_BACKWARD_BROADCAST_PAIR_H_
