// y = scale z + bias, z = (x - mean) inverse, over rows of n: with h = G_y scale,
//   G_x = inverse (h - mean(h) - z mean(h z)),  G_scale = sum(G_y z),  G_bias = sum(G_y).
// Without the mean (RMS) the term mean(h) is left out too.
#include "worker/engine/ops/backward/layer_norm.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "common/status_macros.h"
#include "worker/engine/kernels/elementwise.h"
#include "worker/engine/kernels/row_grads.h"
#include "worker/engine/kernels/row_kernels.h"
#include "worker/engine/ops/forward/elements.h"
#include "worker/engine/ops/forward/elementwise.h"
#include "worker/engine/ops/op_context.h"

namespace lathe::engine {
namespace {

constexpr size_t kNone = 99;  // no such input or output

struct Job {
  bool centered = true;
  float epsilon = 1e-5F;
  size_t scale = 1;
  size_t bias = 2;
  size_t mean_output = 1;
  size_t inverse_output = 2;
};

struct Rows {
  Shape dims;  // of x
  int64_t rows = 1;
  int64_t n = 1;
  const float* x = nullptr;
  const float* g = nullptr;
};

// Whether a factor of that shape is one row for all rows of `r`.
bool IsRow(const Shape& factor, const Rows& r) {
  size_t axes = 0;
  int64_t tail = 1;
  while (axes < r.dims.size() && tail < r.n) tail *= r.dims[r.dims.size() - ++axes];
  return ExtentProduct(factor, 0, factor.size()) == r.n && factor.size() >= axes &&
         std::equal(r.dims.rbegin(), r.dims.rbegin() + static_cast<int64_t>(axes), factor.rbegin());
}

// Adds `count` floats to sums in double precision, and sets them to 0.
void Flush(std::span<float> part, double* sums) {
  for (size_t i = 0; i < part.size(); ++i) sums[i] += static_cast<double>(part[i]);
  std::fill(part.begin(), part.end(), 0.0F);
}

// Sums over rows, one a column: as floats for a few rows, in double precision beyond.
class ColumnSums {
 public:
  static absl::StatusOr<ColumnSums> Make(GradContext& ctx, size_t input, int64_t n) {
    ColumnSums out;
    out.input_ = input;
    if (!ctx.Wants(input)) return out;
    ASSIGN_OR_RETURN(out.part_, ctx.NewValue({n}));
    ASSIGN_OR_RETURN(out.sums_, ctx.Scratch(n * static_cast<int64_t>(sizeof(double))));
    std::fill_n(out.part_.Mutable<float>().data(), n, 0.0F);
    std::fill_n(reinterpret_cast<double*>(out.sums_->data()), n, 0.0);
    return out;
  }
  float* part() { return sums_ == nullptr ? nullptr : part_.Mutable<float>().data(); }
  void EndRow(int64_t row) {
    constexpr int64_t kRows = 32;
    if (sums_ != nullptr && row % kRows == kRows - 1) FlushAll();
  }
  absl::Status Emit(GradContext& ctx) {
    if (sums_ == nullptr) return absl::OkStatus();
    FlushAll();
    ASSIGN_OR_RETURN(const std::span<float> out, ctx.Emit(input_));
    const auto* sums = reinterpret_cast<const double*>(sums_->data());
    for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<float>(sums[i]);
    return absl::OkStatus();
  }

 private:
  void FlushAll() { Flush(part_.Mutable<float>(), reinterpret_cast<double*>(sums_->data())); }

  size_t input_ = 0;
  Value part_;
  std::shared_ptr<Buffer> sums_;  // nullptr: not wanted
};

absl::Status Backwards(GradContext& ctx, const Job& job, const Rows& r, const float* scale,
                       ColumnSums& scale_sums, ColumnSums& bias_sums, float* dx) {
  const bool mean = ctx.HasGrad(job.mean_output);
  const bool inverse = ctx.HasGrad(job.inverse_output);
  NormalizeGradArgs args;
  args.n = r.n;
  args.centered = job.centered;
  args.epsilon = job.epsilon;
  args.scale = scale;
  args.dscale = scale_sums.part();
  args.dbias = bias_sums.part();
  for (int64_t row = 0; row < r.rows; ++row) {
    args.x = r.x + row * r.n;
    args.g = r.g + row * r.n;
    args.mean_grad = mean ? ctx.Grad(job.mean_output)[row] : 0.0F;
    args.inverse_grad = inverse ? ctx.Grad(job.inverse_output)[row] : 0.0F;
    args.dx = dx == nullptr ? nullptr : dx + row * r.n;
    NormalizeGradRow(args);
    scale_sums.EndRow(row);
    bias_sums.EndRow(row);
  }
  RETURN_IF_ERROR(scale_sums.Emit(ctx));
  return bias_sums.Emit(ctx);
}

// A scale or bias that is not simply a row: the terms of its gradient are spread over x first.
absl::Status SpreadBackwards(GradContext& ctx, const Job& job, const Rows& r, float* dx) {
  ASSIGN_OR_RETURN(Value terms, ctx.NewValue(r.dims));
  float* to = terms.Mutable<float>().data();
  const int64_t count = terms.size();
  if (ctx.Wants(job.scale)) {
    NormalizeRows(r.rows, r.n, job.centered, job.epsilon, r.x, nullptr, nullptr, to, nullptr,
                  nullptr);
    ApplyPair(PairOp::kMul, r.g, 1, to, 1, count, to);
    ASSIGN_OR_RETURN(const std::span<float> out, ctx.Emit(job.scale));
    SumToShape(terms.As<float>(), r.dims, ctx.Dims(job.scale), out);
  }
  if (ctx.Wants(job.bias)) {
    ASSIGN_OR_RETURN(const std::span<float> out, ctx.Emit(job.bias));
    SumToShape({r.g, static_cast<size_t>(count)}, r.dims, ctx.Dims(job.bias), out);
  }
  Rows scaled = r;
  if (ctx.Has(job.scale)) {
    const auto walk = BroadcastWalk<1>::Make(r.dims, {&ctx.Dims(job.scale)});
    if (!walk) return ctx.Error("the scale does not broadcast to the input");
    const float* scale = ctx.X(job.scale).data();
    walk->ForEachRun([&](int64_t at, const auto& from) {
      ApplyPair(PairOp::kMul, r.g + at, 1, scale + from[0], walk->step(0), walk->run(), to + at);
    });
    scaled.g = to;
  }
  ColumnSums none;
  return Backwards(ctx, job, scaled, nullptr, none, none, dx);
}

// Emits the gradients of scale and bias; writes that of x to `dx` unless it is nullptr.
absl::Status NormalizeBack(GradContext& ctx, const Job& job, const Rows& r, float* dx) {
  const bool rowwise = (!ctx.Has(job.scale) || IsRow(ctx.Dims(job.scale), r)) &&
                       (!ctx.Has(job.bias) || IsRow(ctx.Dims(job.bias), r));
  if (!rowwise) return SpreadBackwards(ctx, job, r, dx);
  ASSIGN_OR_RETURN(ColumnSums scale_sums, ColumnSums::Make(ctx, job.scale, r.n));
  ASSIGN_OR_RETURN(ColumnSums bias_sums, ColumnSums::Make(ctx, job.bias, r.n));
  const float* scale = ctx.Has(job.scale) ? ctx.X(job.scale).data() : nullptr;
  return Backwards(ctx, job, r, scale, scale_sums, bias_sums, dx);
}

// The gradient of output 0, zero where the loss reads the other outputs alone.
absl::StatusOr<Value> MainGrad(GradContext& ctx, const Shape& dims) {
  if (ctx.HasGrad(0)) return ctx.GradValue(0);
  ASSIGN_OR_RETURN(Value zero, ctx.NewValue(dims));
  std::fill_n(zero.Mutable<float>().data(), zero.size(), 0.0F);
  return zero;
}

absl::Status OverAxes(GradContext& ctx, Job job) {
  Rows r;
  r.dims = ctx.Dims(0);
  const auto axis =
      NormalAxis(ctx.node().IntAttribute("axis", -1), static_cast<int64_t>(r.dims.size()));
  if (!axis) return ctx.Error("'axis' lies outside of its input's axes");
  job.epsilon = ctx.node().FloatAttribute("epsilon", 1e-5F);
  r.rows = ExtentProduct(r.dims, 0, *axis);
  r.n = ExtentProduct(r.dims, *axis, r.dims.size());
  r.x = ctx.X(0).data();
  ASSIGN_OR_RETURN(const Value g, MainGrad(ctx, r.dims));
  r.g = g.As<float>().data();
  float* dx = nullptr;
  if (ctx.Wants(0)) {
    ASSIGN_OR_RETURN(const std::span<float> out, ctx.Emit(0));
    dx = out.data();
  }
  return NormalizeBack(ctx, job, r, dx);
}

// com.microsoft: of input 0 + input 1 (+ a bias [n]), whose sum is output 3.
absl::Status Skip(GradContext& ctx, Job job, size_t added_bias) {
  Rows r;
  r.dims = ctx.Dims(0);
  r.n = r.dims.back();
  r.rows = ExtentProduct(r.dims, 0, r.dims.size() - 1);
  job.epsilon = ctx.node().FloatAttribute("epsilon", 1e-12F);
  job.mean_output = job.inverse_output = kNone;
  ASSIGN_OR_RETURN(Value sum, ctx.NewValue(r.dims));
  float* x = sum.Mutable<float>().data();
  const int64_t count = sum.size();
  const int64_t period = ctx.In(1).size();
  for (int64_t at = 0; at < count; at += period) {
    ApplyPair(PairOp::kAdd, ctx.X(0).data() + at, 1, ctx.X(1).data(), 1, period, x + at);
  }
  for (int64_t row = 0; row < r.rows && ctx.Has(added_bias); ++row) {
    float* to = x + row * r.n;
    ApplyPair(PairOp::kAdd, to, 1, ctx.X(added_bias).data(), 1, r.n, to);
  }
  r.x = x;
  ASSIGN_OR_RETURN(const Value g, MainGrad(ctx, r.dims));
  r.g = g.As<float>().data();
  ASSIGN_OR_RETURN(Value grad, ctx.NewValue(r.dims));
  float* dx = grad.Mutable<float>().data();
  RETURN_IF_ERROR(NormalizeBack(ctx, job, r, dx));
  if (ctx.HasGrad(3)) ApplyPair(PairOp::kAdd, dx, 1, ctx.Grad(3).data(), 1, count, dx);
  for (const size_t i : {size_t{1}, added_bias}) {
    if (!ctx.Wants(i)) continue;
    ASSIGN_OR_RETURN(const std::span<float> out, ctx.Emit(i));
    SumToShape(grad.As<float>(), r.dims, ctx.Dims(i), out);
  }
  if (ctx.Wants(0)) ctx.Set(0, std::move(grad));
  return absl::OkStatus();
}

}  // namespace

absl::Status LayerNormGrad(GradContext& ctx) { return OverAxes(ctx, Job()); }

absl::Status RmsNormGrad(GradContext& ctx) {
  Job job;
  job.centered = false;
  job.bias = job.mean_output = kNone;
  job.inverse_output = 1;
  return OverAxes(ctx, job);
}

absl::Status SkipLayerNormGrad(GradContext& ctx) {
  Job job;
  job.scale = 2;
  job.bias = 3;
  return Skip(ctx, job, 4);
}

absl::Status SkipRmsNormGrad(GradContext& ctx) {
  Job job;
  job.centered = false;
  job.scale = 2;
  job.bias = kNone;
  return Skip(ctx, job, 3);
}

}  // namespace lathe::engine
