// Resampling: output extents come from sizes, or are floor(extent * scale).
#include <algorithm>
#include <cmath>

#include "worker/engine/ops/op_rules.h"

namespace lathe::engine {
namespace {

bool Scale(OpContext& ctx, const std::vector<double>& scales, const std::vector<int64_t>& axes) {
  if (scales.size() != axes.size()) return false;
  Shape dims = ctx.Dims(0);
  for (size_t i = 0; i < axes.size(); ++i) {
    const auto axis = NormalAxis(axes[i], ctx.Rank(0));
    if (!axis) return false;
    // Scales are float32 in the file: 2.9999998 x 10 means what float arithmetic makes of it.
    const double extent = std::floor(
        static_cast<double>(static_cast<float>(dims[*axis]) * static_cast<float>(scales[i])));
    if (!(extent >= 0 && extent <= static_cast<double>(kMaxExtent))) return false;
    dims[*axis] = static_cast<int64_t>(extent);
  }
  ctx.Set(0, ctx.In(0).dtype, std::move(dims));
  return true;
}

std::vector<int64_t> AllAxes(const OpContext& ctx) {
  std::vector<int64_t> axes;
  for (int64_t i = 0; i < ctx.Rank(0); ++i) axes.push_back(i);
  return axes;
}

}  // namespace

bool InferUpsample(OpContext& ctx) {
  if (!ctx.Ranked(0)) return false;
  std::vector<double> scales;
  if (const Attribute* given = ctx.node().FindAttribute("scales")) {
    scales.assign(given->floats.begin(), given->floats.end());
  } else if (ctx.node().FindAttribute("height_scale") != nullptr) {
    scales = {1, 1, ctx.node().FloatAttribute("height_scale", 1),
              ctx.node().FloatAttribute("width_scale", 1)};
  } else if (const auto input = ctx.Reals(1)) {
    scales = *input;
  } else {
    return false;
  }
  return Scale(ctx, scales, AllAxes(ctx));
}

bool InferResize(OpContext& ctx) {
  if (!ctx.Ranked(0)) return false;
  std::vector<int64_t> axes = ctx.node().IntsAttribute("axes");
  if (ctx.node().FindAttribute("axes") == nullptr) axes = AllAxes(ctx);
  const size_t scales_at = ctx.opset() < 11 ? 1 : 2;
  if (ctx.opset() >= 11 && ctx.Has(3)) {
    const auto sizes = ctx.Ints(3);
    if (!sizes) return false;
    if (!sizes->empty()) {
      if (sizes->size() != axes.size()) return false;
      const std::string policy = ctx.node().StringAttribute("keep_aspect_ratio_policy", "stretch");
      Shape dims = ctx.Dims(0);
      double common = 0;
      for (size_t i = 0; i < axes.size(); ++i) {
        const auto axis = NormalAxis(axes[i], ctx.Rank(0));
        if (!axis || (*sizes)[i] < 0) return false;
        const double scale = static_cast<double>((*sizes)[i]) /
                             static_cast<double>(std::max<int64_t>(1, ctx.Dims(0)[*axis]));
        if (i == 0) common = scale;
        common = policy == "not_larger" ? std::min(common, scale) : std::max(common, scale);
        dims[*axis] = (*sizes)[i];
      }
      if (policy != "stretch") {
        for (const int64_t a : axes) {
          const int64_t axis = *NormalAxis(a, ctx.Rank(0));
          const double extent = std::round(common * static_cast<double>(ctx.Dims(0)[axis]));
          if (!(extent <= static_cast<double>(kMaxExtent))) return false;
          dims[axis] = static_cast<int64_t>(extent);
        }
      }
      ctx.Set(0, ctx.In(0).dtype, std::move(dims));
      return true;
    }
  }
  const auto scales = ctx.Reals(scales_at);
  return scales && Scale(ctx, *scales, axes);
}

bool InferGridSample(OpContext& ctx) {
  if (!ctx.Ranked(0) || !ctx.Ranked(1) || ctx.Rank(0) < 3 || ctx.Rank(1) != ctx.Rank(0)) {
    return false;
  }
  Shape dims = {ctx.Dims(0)[0], ctx.Dims(0)[1]};
  dims.insert(dims.end(), ctx.Dims(1).begin() + 1, ctx.Dims(1).end() - 1);
  ctx.Set(0, ctx.In(0).dtype, std::move(dims));
  return true;
}

// size [N, C, (D,) H, W] -> grid [N, (D,) H, W, number of spatial axes].
bool InferAffineGrid(OpContext& ctx) {
  const auto size = ctx.Ints(1);
  if (!size || size->size() < 4) return false;
  Shape dims = {(*size)[0]};
  dims.insert(dims.end(), size->begin() + 2, size->end());
  dims.push_back(static_cast<int64_t>(size->size()) - 2);
  ctx.Set(0, ctx.In(0).dtype, std::move(dims));
  return true;
}

}  // namespace lathe::engine
