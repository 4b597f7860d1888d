// Softmax and LogSoftmax: G_x = y (G_y - sum(G_y y)), and G_y - e^y sum(G_y), over rows. Before
// opset 13 the axes from `axis` on are one row; since then the axis alone is.
#include <vector>

#include "common/status_macros.h"
#include "worker/engine/kernels/elementwise.h"
#include "worker/engine/kernels/row_grads.h"
#include "worker/engine/ops/backward/backward.h"
#include "worker/engine/ops/forward/elements.h"
#include "worker/engine/ops/op_context.h"

namespace lathe::engine {
namespace {

// One matrix [n, inner] whose columns are rows of the softmax. `sums` and `scratch` have `inner`
// elements.
void ColumnsGrad(int64_t n, int64_t inner, bool log, const float* y, const float* g, float* sums,
                 float* scratch, float* dx) {
  std::fill_n(sums, inner, 0.0F);
  for (int64_t k = 0; k < n; ++k) {
    const float* row = g + k * inner;
    const float* result = y + k * inner;
    for (int64_t i = 0; i < inner; ++i) sums[i] += log ? row[i] : row[i] * result[i];
  }
  for (int64_t k = 0; k < n; ++k) {
    const float* row = g + k * inner;
    const float* result = y + k * inner;
    float* to = dx + k * inner;
    if (log) {
      ApplyMap(MapOp::kExp, 0, 0, result, inner, scratch);
      for (int64_t i = 0; i < inner; ++i) to[i] = row[i] - scratch[i] * sums[i];
    } else {
      for (int64_t i = 0; i < inner; ++i) to[i] = result[i] * (row[i] - sums[i]);
    }
  }
}

absl::Status RowsGrad(GradContext& ctx, bool log) {
  if (!ctx.Wants(0)) return absl::OkStatus();
  const Shape& dims = ctx.Dims(0);
  const auto rank = static_cast<int64_t>(dims.size());
  const bool flattens = ctx.opset() < 13;
  const int64_t given = ctx.node().IntAttribute("axis", flattens ? 1 : -1);
  // A scalar is a row of one; an axis past the last of a flattened input leaves rows of one.
  const int64_t axis = rank == 0 || given == rank ? rank : NormalAxis(given, rank).value_or(rank);
  const int64_t end = flattens ? rank : std::min(axis + 1, rank);
  const int64_t outer = ExtentProduct(dims, 0, axis);
  const int64_t n = ExtentProduct(dims, axis, end);
  const int64_t inner = ExtentProduct(dims, end, rank);
  const float* g = ctx.Grad(0).data();
  const float* y = ctx.Y(0).data();
  ASSIGN_OR_RETURN(const std::span<float> out, ctx.EmitInPlace(0, 0));
  if (out.empty()) return absl::OkStatus();
  if (inner == 1) {
    SoftmaxGradRows(outer, n, log, y, g, out.data());
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(Value held, ctx.NewValue({2, inner}));
  float* sums = held.Mutable<float>().data();
  for (int64_t o = 0; o < outer; ++o) {
    const int64_t at = o * n * inner;
    ColumnsGrad(n, inner, log, y + at, g + at, sums, sums + inner, out.data() + at);
  }
  return absl::OkStatus();
}

absl::Status SoftmaxGrad(GradContext& ctx) { return RowsGrad(ctx, false); }
absl::Status LogSoftmaxGrad(GradContext& ctx) { return RowsGrad(ctx, true); }

constexpr OpBackward kTable[] = {
    {"", "LogSoftmax", LogSoftmaxGrad, kReadsNothing, 1},
    {"", "Softmax", SoftmaxGrad, kReadsNothing, 1},
};

}  // namespace

std::span<const OpBackward> SoftmaxBackwards() { return kTable; }

}  // namespace lathe::engine
