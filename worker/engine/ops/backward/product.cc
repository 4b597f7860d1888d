// MatMul and Gemm: for y = a b, G_a = G_y b^T and G_b = a^T G_y, summed over the axes along which
// an operand was broadcast.
#include <algorithm>
#include <memory>
#include <vector>

#include "common/status_macros.h"
#include "worker/engine/ops/backward/backward.h"
#include "worker/engine/ops/op_context.h"

namespace lathe::engine {
namespace {

struct ProductGradState : NodeState {
  std::unique_ptr<GemmKernel> kernel;
};

GemmKernel& Kernel(GradContext& ctx) {
  auto& state = ctx.State<ProductGradState>();
  if (!state.kernel) state.kernel = ctx.backend().MakeGemm();
  return *state.kernel;
}

int64_t Product(const Shape& dims) {
  int64_t out = 1;
  for (const int64_t extent : dims) out *= extent;
  return out;
}

// c [m, n] := (or +=) op(a) op(b).
absl::Status Multiply(GradContext& ctx, bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k,
                      float alpha, const float* a, const float* b, bool accumulate, float* c) {
  if (m == 0 || n == 0) return absl::OkStatus();
  if (k == 0) {
    if (!accumulate) std::fill_n(c, m * n, 0.0f);
    return absl::OkStatus();
  }
  GemmArgs args;
  args.trans_a = trans_a;
  args.trans_b = trans_b;
  args.m = m;
  args.n = n;
  args.k = k;
  args.alpha = alpha;
  args.a = a;
  args.b = b;
  args.accumulate = accumulate;
  args.c = c;
  return Kernel(ctx).Run(args);
}

// Index, in matrices of an operand with batch axes `operand`, of each matrix of the batch.
std::vector<int64_t> MatrixOf(const Shape& batch, const Shape& operand) {
  Shape wide = operand;
  wide.insert(wide.begin(), batch.size() - operand.size(), 1);
  const std::vector<int64_t> strides = Strides(wide);
  std::vector<int64_t> out;
  Shape at(batch.size(), 0);
  for (int64_t i = 0, count = Product(batch); i < count; ++i) {
    int64_t offset = 0;
    for (size_t a = 0; a < batch.size(); ++a) {
      if (wide[a] != 1) offset += at[a] * strides[a];
    }
    out.push_back(offset);
    for (size_t a = batch.size(); a-- > 0;) {
      if (++at[a] < batch[a]) break;
      at[a] = 0;
    }
  }
  return out;
}

absl::Status MatMulGrad(GradContext& ctx) {
  Shape a = ctx.Dims(0);
  Shape b = ctx.Dims(1);
  if (a.size() == 1) a.insert(a.begin(), 1);
  if (b.size() == 1) b.push_back(1);
  const int64_t m = a[a.size() - 2];
  const int64_t k = a.back();
  const int64_t n = b.back();
  const Shape a_batch(a.begin(), a.end() - 2);
  const Shape b_batch(b.begin(), b.end() - 2);
  const float* x = ctx.X(0).data();
  const float* w = ctx.X(1).data();
  const float* g = ctx.Grad(0).data();
  if (Product(b_batch) == 1) {  // one right operand for all rows
    const int64_t rows = Product(a_batch) * m;
    if (ctx.Wants(0)) {
      ASSIGN_OR_RETURN(const std::span<float> out, ctx.Emit(0));
      RETURN_IF_ERROR(Multiply(ctx, false, true, rows, k, n, 1, g, w, false, out.data()));
    }
    if (ctx.Wants(1)) {
      ASSIGN_OR_RETURN(const std::span<float> out, ctx.Emit(1));
      RETURN_IF_ERROR(Multiply(ctx, true, false, k, n, rows, 1, x, g, false, out.data()));
    }
    return absl::OkStatus();
  }
  const std::optional<Shape> batch = Broadcast(a_batch, b_batch);
  if (!batch) return ctx.Error("the operands do not fit together");
  const std::vector<int64_t> left = MatrixOf(*batch, a_batch);
  const std::vector<int64_t> right = MatrixOf(*batch, b_batch);
  std::span<float> grad_a;
  std::span<float> grad_b;
  if (ctx.Wants(0)) {
    ASSIGN_OR_RETURN(grad_a, ctx.EmitZeros(0));
  }
  if (ctx.Wants(1)) {
    ASSIGN_OR_RETURN(grad_b, ctx.EmitZeros(1));
  }
  for (size_t i = 0; i < left.size(); ++i) {
    const float* g_i = g + static_cast<int64_t>(i) * m * n;
    if (!grad_a.empty()) {
      RETURN_IF_ERROR(Multiply(ctx, false, true, m, k, n, 1, g_i, w + right[i] * k * n, true,
                               grad_a.data() + left[i] * m * k));
    }
    if (!grad_b.empty()) {
      RETURN_IF_ERROR(Multiply(ctx, true, false, k, n, m, 1, x + left[i] * m * k, g_i, true,
                               grad_b.data() + right[i] * k * n));
    }
  }
  return absl::OkStatus();
}

// y = alpha op(a) op(b) + beta c.
absl::Status GemmGrad(GradContext& ctx) {
  const bool trans_a = ctx.node().IntAttribute("transA", 0) != 0;
  const bool trans_b = ctx.node().IntAttribute("transB", 0) != 0;
  const float alpha = ctx.node().FloatAttribute("alpha", 1.0f);
  const float beta = ctx.node().FloatAttribute("beta", 1.0f);
  const Shape& y = ctx.Out(0).dims;
  const int64_t m = y[0];
  const int64_t n = y[1];
  const int64_t k = ctx.Dims(0)[trans_a ? 0 : 1];
  const float* a = ctx.X(0).data();
  const float* b = ctx.X(1).data();
  const float* g = ctx.Grad(0).data();
  if (ctx.Wants(0)) {
    ASSIGN_OR_RETURN(const std::span<float> out, ctx.Emit(0));
    if (trans_a) {  // a is [k, m]: op(b) G^T
      RETURN_IF_ERROR(Multiply(ctx, trans_b, true, k, m, n, alpha, b, g, false, out.data()));
    } else {
      RETURN_IF_ERROR(Multiply(ctx, false, !trans_b, m, k, n, alpha, g, b, false, out.data()));
    }
  }
  if (ctx.Wants(1)) {
    ASSIGN_OR_RETURN(const std::span<float> out, ctx.Emit(1));
    if (trans_b) {  // b is [n, k]: G^T op(a)
      RETURN_IF_ERROR(Multiply(ctx, true, trans_a, n, k, m, alpha, g, a, false, out.data()));
    } else {
      RETURN_IF_ERROR(Multiply(ctx, !trans_a, false, k, n, m, alpha, a, g, false, out.data()));
    }
  }
  if (ctx.Wants(2)) {
    ASSIGN_OR_RETURN(const std::span<float> out, ctx.Emit(2));
    SumToShape(ctx.Grad(0), y, ctx.Dims(2), out);
    for (float& v : out) v *= beta;
  }
  return absl::OkStatus();
}

constexpr OpBackward kTable[] = {
    {"", "MatMul", MatMulGrad, 0b11},
    {"", "Gemm", GemmGrad, 0b11},
};

}  // namespace

std::span<const OpBackward> ProductBackwards() { return kTable; }

}  // namespace lathe::engine
