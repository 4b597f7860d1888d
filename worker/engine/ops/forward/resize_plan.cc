#include "worker/engine/ops/forward/resize_plan.h"

#include <algorithm>
#include <initializer_list>
#include <numeric>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/engine/ops/forward/value_read.h"
#include "worker/engine/ops/op_context.h"

namespace lathe::engine {
namespace {

absl::Status ReadRule(const RunContext& ctx, ResampleRule& rule) {
  const Node& node = ctx.node();
  const auto one_of = [](const std::string& value, std::initializer_list<const char*> names) {
    return std::find(names.begin(), names.end(), value) != names.end();
  };
  rule.mode = node.StringAttribute("mode", "nearest");
  if (rule.mode == "bilinear") rule.mode = "linear";  // Upsample
  if (!one_of(rule.mode, {"nearest", "linear", "cubic"})) {
    return ctx.Error(absl::StrCat("mode must be nearest, linear or cubic, not '", rule.mode, "'"));
  }
  if (node.op_type == "Upsample" || ctx.opset() < 11) {
    rule.coordinates = "asymmetric";
    rule.nearest = "simple";
    return absl::OkStatus();
  }
  rule.coordinates = node.StringAttribute("coordinate_transformation_mode", "half_pixel");
  if (!one_of(rule.coordinates,
              {"half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners",
               "asymmetric", "tf_half_pixel_for_nn", "tf_crop_and_resize"})) {
    return ctx.Error(absl::StrCat("coordinate_transformation_mode '", rule.coordinates,
                                  "' is not one of ONNX's"));
  }
  rule.nearest = node.StringAttribute("nearest_mode", "round_prefer_floor");
  if (!one_of(rule.nearest, {"round_prefer_floor", "round_prefer_ceil", "floor", "ceil"})) {
    return ctx.Error(absl::StrCat("nearest_mode '", rule.nearest, "' is not one of ONNX's"));
  }
  rule.cubic_a = node.FloatAttribute("cubic_coeff_a", -0.75F);
  rule.exclude_outside = node.IntAttribute("exclude_outside", 0) != 0;
  rule.antialias = node.IntAttribute("antialias", 0) != 0;
  return absl::OkStatus();
}

// Scales as given, one an axis listed; empty when sizes are given instead.
absl::StatusOr<std::vector<float>> GivenScales(RunContext& ctx) {
  const Node& node = ctx.node();
  if (const Attribute* scales = node.FindAttribute("scales")) return scales->floats;
  if (node.FindAttribute("height_scale") != nullptr) {
    return std::vector<float>{1, 1, node.FloatAttribute("height_scale", 1),
                              node.FloatAttribute("width_scale", 1)};
  }
  const bool old = node.op_type == "Upsample" || ctx.opset() < 11;
  if (!old && ctx.Has(3) && ctx.In(3).size() > 0) return std::vector<float>();
  const Value& given = ctx.In(old ? 1 : 2);
  if (given.dtype != DType::kFloat || !given.IsTensor()) return ctx.Error("scales must be float32");
  return std::vector<float>(given.As<float>().begin(), given.As<float>().end());
}

absl::Status ReadAxes(RunContext& ctx, const Shape& dims, ResizePlan& plan) {
  const Shape& in = ctx.In(0).dims;
  const auto rank = static_cast<int64_t>(in.size());
  std::vector<int64_t> listed = ctx.node().IntsAttribute("axes");
  if (ctx.node().FindAttribute("axes") == nullptr) {
    listed.resize(in.size());
    std::iota(listed.begin(), listed.end(), int64_t{0});
  }
  ASSIGN_OR_RETURN(const std::vector<float> scales, GivenScales(ctx));
  // The rule has held their number against the axes'.
  const bool crops = plan.rule.coordinates == "tf_crop_and_resize";
  const Value& roi = ctx.In(1);
  if (crops && (!roi.IsTensor() || roi.size() != 2 * static_cast<int64_t>(listed.size()))) {
    return ctx.Error(absl::StrCat("roi must have ", 2 * listed.size(), " elements"));
  }
  plan.axes.resize(in.size());
  for (size_t i = 0; i < in.size(); ++i) plan.axes[i] = {in[i], dims[i], 1, 0, 1};
  const std::string policy = ctx.node().StringAttribute("keep_aspect_ratio_policy", "stretch");
  if (policy != "stretch" && policy != "not_larger" && policy != "not_smaller") {
    return ctx.Error(absl::StrCat("keep_aspect_ratio_policy '", policy, "' is not one of ONNX's"));
  }
  float common = 0;
  for (size_t i = 0; i < listed.size(); ++i) {
    const auto at = NormalAxis(listed[i], rank);
    if (!at) return ctx.Error(absl::StrCat("axis ", listed[i], " lies outside of the rank"));
    ResampleAxis& axis = plan.axes[*at];
    if (!scales.empty()) {
      axis.scale = scales[i];
    } else {
      ASSIGN_OR_RETURN(const std::vector<int64_t> sizes, ctx.Ints(3));
      axis.scale = static_cast<float>(sizes[i]) / static_cast<float>(axis.in);
      if (i == 0) common = axis.scale;
      common = policy == "not_larger" ? std::min(common, axis.scale) : std::max(common, axis.scale);
    }
    if (crops) {
      axis.roi_start = static_cast<float>(ReadNumber(roi, static_cast<int64_t>(i)));
      axis.roi_end = static_cast<float>(ReadNumber(roi, static_cast<int64_t>(i + listed.size())));
    }
  }
  if (scales.empty() && policy != "stretch") {
    for (const int64_t given : listed) plan.axes[*NormalAxis(given, rank)].scale = common;
  }
  for (const ResampleAxis& axis : plan.axes) {
    if (!(axis.scale > 0)) return ctx.Error("scales must be positive");
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<ResizePlan> ReadResizePlan(RunContext& ctx, const Shape& dims) {
  ResizePlan plan;
  RETURN_IF_ERROR(ReadRule(ctx, plan.rule));
  plan.extrapolation = ctx.node().FloatAttribute("extrapolation_value", 0);
  if (std::find(dims.begin(), dims.end(), 0) != dims.end()) return plan;
  RETURN_IF_ERROR(ReadAxes(ctx, dims, plan));
  for (const ResampleAxis& axis : plan.axes) {
    plan.taps.push_back(IsIdentity(axis, plan.rule) ? ResampleTaps() : MakeTaps(axis, plan.rule));
  }
  return plan;
}

}  // namespace lathe::engine
