#include <algorithm>

#include "absl/strings/str_cat.h"
#include "worker/engine/passes/opset_adapters.h"

namespace lathe::engine {
namespace {

// Old exporters wrote the mode's former name.
void NormalizeMode(Node& node) {
  const std::string mode = node.StringAttribute("mode", "nearest");
  if (mode == "bilinear" || mode == "trilinear") node.SetString("mode", "linear");
}

// The sampling that Upsample, and Resize before 11, did: output i comes from input i / scale, and
// the nearest mode takes the input to the left of that when it enlarges.
void SampleAsUpsample(Node& node) {
  node.SetString("coordinate_transformation_mode", "asymmetric");
  if (node.StringAttribute("mode", "nearest") == "nearest") node.SetString("nearest_mode", "floor");
}

}  // namespace

std::string AdaptGridSample20(AdapterContext& ctx) {
  Node& node = ctx.node();
  const std::string mode = node.StringAttribute("mode", "bilinear");
  if (mode == "bilinear") node.SetString("mode", "linear");
  if (mode == "bicubic") node.SetString("mode", "cubic");
  return "";
}

// Resize 10 had two inputs and one way of sampling. Its nearest mode is not spelled out; runtimes
// take the input to the left when they enlarge, and the one to the right when they shrink.
std::string AdaptResize11(AdapterContext& ctx) {
  Node& node = ctx.node();
  if (node.inputs.size() != 2) return "it must have two inputs";
  NormalizeMode(node);
  if (node.FindAttribute("coordinate_transformation_mode") ==
      nullptr) {  // not made from an Upsample
    SampleAsUpsample(node);
    if (node.StringAttribute("mode", "nearest") == "nearest") {
      const Tensor* scales = ctx.ConstantOf(node.inputs[1]);
      const absl::StatusOr<std::vector<float>> values =
          scales == nullptr ? absl::NotFoundError("") : scales->ToFloats();
      if (!values.ok()) return "its scales are not constant, and enlarging and shrinking differ";
      const bool enlarges =
          std::all_of(values->begin(), values->end(), [](float s) { return s >= 1; });
      const bool shrinks =
          std::all_of(values->begin(), values->end(), [](float s) { return s <= 1; });
      if (!enlarges && !shrinks) return "it enlarges some axes and shrinks others";
      if (!enlarges) node.SetString("nearest_mode", "ceil");
    }
  }
  const std::string roi = ctx.Floats("roi", DType::kFloat, {0}, {});
  node.inputs.insert(node.inputs.begin() + 1, roi);
  return "";
}

// The default became half_pixel.
std::string AdaptRoiAlign16(AdapterContext& ctx) {
  ctx.node().SetString("coordinate_transformation_mode", "output_half_pixel");
  return "";
}

std::string AdaptUpsample9(AdapterContext& ctx) {
  Node& node = ctx.node();
  const Attribute* scales = node.FindAttribute("scales");
  if (scales == nullptr || scales->floats.empty()) return "it has no scales";
  const std::vector<float> values = scales->floats;
  NormalizeMode(node);
  node.RemoveAttribute("scales");
  node.inputs.resize(2);
  node.inputs[1] =
      ctx.Floats("scales", DType::kFloat, {static_cast<int64_t>(values.size())}, values);
  return "";
}

// Upsample became Resize. Its scales are never below 1, which the next step would otherwise have to
// know.
std::string AdaptUpsample10(AdapterContext& ctx) {
  Node& node = ctx.node();
  node.op_type = "Resize";
  NormalizeMode(node);
  if (ctx.target() >= 11) SampleAsUpsample(node);
  return "";
}

}  // namespace lathe::engine
