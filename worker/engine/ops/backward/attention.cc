// Attention of ai.onnx, MultiHeadAttention and Attention of com.microsoft, without keys of earlier
// calls; SwiGLU. What comes before the heads is read as in the forward run.
#include "worker/engine/ops/forward/attention.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "common/status_macros.h"
#include "worker/engine/kernels/backend.h"
#include "worker/engine/linalg/strided_product.h"
#include "worker/engine/ops/backward/attention_heads.h"
#include "worker/engine/ops/backward/backward.h"
#include "worker/engine/ops/backward/broadcast_pair.h"
#include "worker/engine/ops/backward/run_forward.h"

namespace lathe::engine {
namespace {

// Inputs and outputs of earlier and later keys, and of scores, are not differentiated.
absl::Status CheckAlone(const GradContext& ctx, std::initializer_list<size_t> inputs,
                        size_t outputs) {
  for (const size_t i : inputs) {
    if (ctx.Has(i)) return ctx.Unsupported("with keys and values of earlier calls");
  }
  for (size_t o = 1; o < outputs; ++o) {
    if (o < ctx.node().outputs.size() && !ctx.node().outputs[o].empty()) {
      return ctx.Unsupported("with its keys, values or scores as outputs");
    }
  }
  return absl::OkStatus();
}

// Heads in a tensor of rank 4 [B, heads, rows, width], or 3 [B, rows, heads width].
template <typename T>
HeadsView<T> ViewOf(T* data, const Shape& dims, int64_t heads, int64_t rows, int64_t width) {
  return dims.size() == 4 ? HeadsView<T>::Dense(data, heads, rows, width)
                          : HeadsView<T>::Flat(data, heads, rows, width);
}

absl::StatusOr<HeadsView<float>> EmitView(GradContext& ctx, size_t i, int64_t heads, int64_t rows,
                                          int64_t width) {
  if (!ctx.Wants(i)) return HeadsView<float>();
  ASSIGN_OR_RETURN(const std::span<float> out, ctx.EmitZeros(i));
  return ViewOf(out.data(), ctx.Dims(i), heads, rows, width);
}

// Of a bias or mask of up to 4 axes that spreads over [batch, heads, queries, keys].
absl::Status EmitBias(GradContext& ctx, size_t i, HeadsGrads& grads) {
  if (!ctx.Wants(i)) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::span<float> out, ctx.EmitZeros(i));
  Shape dims = ctx.Dims(i);
  dims.insert(dims.begin(), 4 - dims.size(), 1);
  grads.bias_keys = dims[3];
  grads.bias = {out.data(), dims[0] == 1 ? 0 : dims[1] * dims[2] * dims[3],
                dims[1] == 1 ? 0 : dims[2] * dims[3], dims[2] == 1 ? 0 : dims[3]};
  return absl::OkStatus();
}

absl::Status OnnxAttentionGrad(GradContext& ctx) {
  RETURN_IF_ERROR(CheckAlone(ctx, {4, 5}, 4));
  ForwardView view(ctx);
  return ReadOnnxAttention(view.context(), [&](const HeadsCall& call) -> absl::Status {
    HeadsGrads grads;
    ASSIGN_OR_RETURN(grads.q, EmitView(ctx, 0, call.heads, call.queries, call.width));
    ASSIGN_OR_RETURN(grads.k, EmitView(ctx, 1, call.kv_heads, call.keys, call.width));
    ASSIGN_OR_RETURN(grads.v, EmitView(ctx, 2, call.kv_heads, call.keys, call.value_width));
    RETURN_IF_ERROR(EmitBias(ctx, 3, grads));
    return AttendHeadsBack(
        ctx, call,
        ViewOf(ctx.Grad(0).data(), ctx.Out(0).dims, call.heads, call.queries, call.value_width),
        grads);
  });
}

// out[c] := the sum of column c of x [rows, columns].
void SumRows(int64_t rows, int64_t columns, const float* x, float* out) {
  SumToShape({x, static_cast<size_t>(rows * columns)}, {rows, columns}, {columns},
             {out, static_cast<size_t>(columns)});
}

// The bias is added to queries, and to keys and values that are flat.
absl::Status MultiHeadAttentionGrad(GradContext& ctx) {
  RETURN_IF_ERROR(CheckAlone(ctx, {6, 7, 8, 9}, 4));
  ForwardView view(ctx);
  return ReadMultiHeadAttention(view.context(), [&](const HeadsCall& call) -> absl::Status {
    const int64_t rows[] = {call.queries, call.keys, call.keys};
    const int64_t widths[] = {call.width, call.width, call.value_width};
    HeadsGrads grads;
    HeadsView<float>* const views[] = {&grads.q, &grads.k, &grads.v};
    Value held[3];
    for (size_t i = 0; i < 3; ++i) {
      if (!ctx.Wants(i) && !ctx.Wants(3)) continue;
      ASSIGN_OR_RETURN(held[i], ctx.NewValue(ctx.Dims(i)));
      float* const to = held[i].Mutable<float>().data();
      std::fill_n(to, held[i].size(), 0.0F);
      *views[i] = ViewOf(to, ctx.Dims(i), call.heads, rows[i], widths[i]);
    }
    RETURN_IF_ERROR(EmitBias(ctx, 5, grads));
    const auto g = HeadsView<const float>::Flat(ctx.Grad(0).data(), call.heads, call.queries,
                                                call.value_width);
    RETURN_IF_ERROR(AttendHeadsBack(ctx, call, g, grads));
    if (ctx.Wants(3)) {
      ASSIGN_OR_RETURN(const std::span<float> out, ctx.EmitZeros(3));
      int64_t at = 0;
      for (size_t i = 0; i < 3; ++i) {
        const int64_t width = call.heads * widths[i];
        if (ctx.Dims(i).size() == 3) {
          SumRows(call.batch * rows[i], width, held[i].As<float>().data(), out.data() + at);
        }
        at += width;
      }
    }
    for (size_t i = 0; i < 3; ++i) {
      if (ctx.Wants(i)) ctx.Set(i, std::move(held[i]));
    }
    return absl::OkStatus();
  });
}

struct AttentionGradState : NodeState {
  std::unique_ptr<GemmKernel> kernel;
};

// Queries, keys and values are X W + bias, beside one another.
absl::Status ContribAttentionGrad(GradContext& ctx) {
  RETURN_IF_ERROR(CheckAlone(ctx, {4, 6}, 2));
  ForwardView view(ctx);
  return ReadContribAttention(view.context(), [&](const HeadsCall& call) -> absl::Status {
    const Shape& w = ctx.Dims(1);
    const int64_t rows = call.batch * call.queries;
    ASSIGN_OR_RETURN(Value projected, ctx.NewValue({rows, w[1]}));
    float* const d = projected.Mutable<float>().data();
    std::fill_n(d, projected.size(), 0.0F);
    const int64_t width = call.heads * call.width;
    HeadsGrads grads;
    grads.q = {d, call.q.batch, call.q.head, call.q.row};
    grads.k = {d + width, call.k.batch, call.k.head, call.k.row};
    grads.v = {d + 2 * width, call.v.batch, call.v.head, call.v.row};
    RETURN_IF_ERROR(EmitBias(ctx, 5, grads));
    const auto g = HeadsView<const float>::Flat(ctx.Grad(0).data(), call.heads, call.queries,
                                                call.value_width);
    RETURN_IF_ERROR(AttendHeadsBack(ctx, call, g, grads));
    if (ctx.Wants(0)) {
      ASSIGN_OR_RETURN(const std::span<float> out, ctx.Emit(0));
      MultiplyStrided(Side::kTransposed, rows, w[0], w[1], 1, {d, w[1]}, {ctx.X(1).data(), w[1]},
                      out.data(), w[0]);
    }
    if (ctx.Wants(2)) {
      ASSIGN_OR_RETURN(const std::span<float> out, ctx.Emit(2));
      SumRows(rows, w[1], d, out.data());
    }
    if (!ctx.Wants(1)) return absl::OkStatus();
    ASSIGN_OR_RETURN(const std::span<float> out, ctx.EmitZeros(1));
    if (rows == 0 || out.empty()) return absl::OkStatus();
    auto& state = ctx.State<AttentionGradState>();
    if (state.kernel == nullptr) state.kernel = ctx.backend().MakeGemm();
    GemmArgs args;
    args.trans_a = true;
    args.m = w[0];
    args.n = w[1];
    args.k = rows;
    args.a = ctx.X(0).data();
    args.b = d;
    args.c = out.data();
    return state.kernel->Run(args);
  });
}

// y = a s b, s = sigmoid(alpha a).
absl::Status SwiGluGrad(GradContext& ctx) {
  const float alpha = ctx.node().FloatAttribute("alpha", 1);
  const auto sigmoid = [=](float a) { return 1 / (1 + std::exp(-alpha * a)); };
  RETURN_IF_ERROR(EmitPairwise(ctx, 0, [=](float g, float a, float b) {
    const float s = sigmoid(a);
    return g * b * (s + alpha * a * s * (1 - s));
  }));
  return EmitPairwise(ctx, 1, [=](float g, float a, float) { return g * a * sigmoid(a); });
}

constexpr OpBackward kTable[] = {
    {"", "Attention", OnnxAttentionGrad, 0b1111},
    {"", "SwiGLU", SwiGluGrad, 0b11},
    {"com.microsoft", "Attention", ContribAttentionGrad, 0b100111},
    {"com.microsoft", "MultiHeadAttention", MultiHeadAttentionGrad, 0b101111},
};

}  // namespace

std::span<const OpBackward> AttentionBackwards() { return kTable; }

}  // namespace lathe::engine
