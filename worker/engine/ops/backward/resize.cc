// Resize and Upsample: the transpose of the forward run's resampling, axis by axis, the first one
// first: each element of G_y is added, times its weights, to the elements that made it.
#include <algorithm>
#include <vector>

#include "common/status_macros.h"
#include "worker/engine/ops/backward/backward.h"
#include "worker/engine/ops/backward/run_forward.h"
#include "worker/engine/ops/forward/elements.h"
#include "worker/engine/ops/forward/resize_plan.h"

namespace lathe::engine {
namespace {

// [rows, out, block] -> [rows, in, block].
void SpreadAlong(const ResampleTaps& taps, int64_t rows, int64_t in, int64_t out, int64_t block,
                 const float* g, float* dx) {
  std::fill_n(dx, rows * in * block, 0.0F);
  for (int64_t row = 0; row < rows; ++row, g += out * block, dx += in * block) {
    const int64_t* index = taps.indices.data();
    const float* weight = taps.weights.data();
    for (int64_t i = 0; i < out; ++i) {
      const float* from = g + i * block;
      for (int64_t t = 0; t < taps.taps; ++t, ++index, ++weight) {
        float* to = dx + *index * block;
        const float w = *weight;
        for (int64_t k = 0; k < block; ++k) to[k] += w * from[k];
      }
    }
  }
}

// Elements that lie outside of the input along some axis were the extrapolation value.
void ClearOutside(const ResizePlan& plan, const Shape& dims, int64_t count, float* g) {
  int64_t block = 1;
  for (size_t axis = dims.size(); axis-- > 0;) {
    const std::vector<bool>& outside = plan.taps[axis].outside;
    for (int64_t line = 0; line < count / block && !outside.empty(); ++line) {
      if (outside[line % dims[axis]]) std::fill_n(g + line * block, block, 0.0F);
    }
    block *= dims[axis];
  }
}

absl::Status ResizeGrad(GradContext& ctx) {
  if (!ctx.Wants(0)) return absl::OkStatus();
  Shape dims = ctx.Out(0).dims;
  ForwardView view(ctx);
  ASSIGN_OR_RETURN(const ResizePlan plan, ReadResizePlan(view.context(), dims));
  if (ctx.Out(0).size() == 0) return ctx.EmitZeros(0).status();
  Value g = ctx.GradValue(0);
  bool crops = false;
  size_t remaining = 0;
  for (const ResampleTaps& taps : plan.taps) {
    crops |= !taps.outside.empty();
    remaining += taps.indices.empty() ? 0 : 1;
  }
  if (crops) {
    ASSIGN_OR_RETURN(Value inside, ctx.NewValue(dims));
    std::copy_n(g.As<float>().data(), g.size(), inside.Mutable<float>().data());
    ClearOutside(plan, dims, g.size(), inside.Mutable<float>().data());
    g = std::move(inside);
  }
  if (remaining == 0) {
    ctx.Set(0, std::move(g));
    return absl::OkStatus();
  }
  for (size_t axis = 0; axis < dims.size(); ++axis) {
    const ResampleTaps& taps = plan.taps[axis];
    if (taps.indices.empty()) continue;
    const ResampleAxis& here = plan.axes[axis];
    dims[axis] = here.in;
    ASSIGN_OR_RETURN(Value next, ctx.NewValue(dims));
    SpreadAlong(taps, ExtentProduct(dims, 0, axis), here.in, here.out,
                ExtentProduct(dims, axis + 1, dims.size()), g.As<float>().data(),
                next.Mutable<float>().data());
    g = std::move(next);
  }
  ctx.Set(0, std::move(g));
  return absl::OkStatus();
}

constexpr OpBackward kTable[] = {
    // Its region of interest and its scales.
    {"", "Resize", ResizeGrad, 0b0110},
    {"", "Upsample", ResizeGrad, 0b10},
};

}  // namespace

std::span<const OpBackward> ResizeBackwards() { return kTable; }

}  // namespace lathe::engine
