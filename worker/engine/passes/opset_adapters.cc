#include "worker/engine/passes/opset_adapters.h"

#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"

namespace lathe::engine {
namespace {

// Makes an attribute of integers the input at `index`, as a 1-D int64 constant. Nothing when the
// attribute is absent or empty.
void IntsToInput(AdapterContext& ctx, const char* attribute, size_t index) {
  Node& node = ctx.node();
  const std::vector<int64_t> values = node.IntsAttribute(attribute);
  node.RemoveAttribute(attribute);
  if (values.empty()) return;
  if (node.inputs.size() <= index) node.inputs.resize(index + 1);
  node.inputs[index] = ctx.Int64s(attribute, values);
}

// Makes a float attribute the scalar input at `index`, of the type of the first input. Returns why
// it cannot, or "".
std::string FloatToInput(AdapterContext& ctx, const char* attribute, size_t index) {
  Node& node = ctx.node();
  const float value = node.FloatAttribute(attribute, 0);
  const std::optional<DType> dtype = ctx.FloatTypeOf(node.inputs.empty() ? "" : node.inputs[0]);
  if (!dtype.has_value()) {
    return absl::StrCat(
        "the type of its input is not declared, and its ", attribute,
        " must become an input of that type: run shape inference on the model first");
  }
  if (!IsFloat(*dtype)) return absl::StrCat("its input is declared to be ", DTypeName(*dtype));
  node.RemoveAttribute(attribute);
  if (node.inputs.size() <= index) node.inputs.resize(index + 1);
  node.inputs[index] = ctx.Floats(attribute, *dtype, {}, {value});
  return "";
}

bool HasOutput(const Node& node, size_t index) {
  return index < node.outputs.size() && !node.outputs[index].empty();
}

}  // namespace

std::string AdaptAxesToInput(AdapterContext& ctx) {
  IntsToInput(ctx, "axes", 1);
  return "";
}

// `spatial` went: 1, its default, is the only behaviour left.
std::string AdaptBatchNormalization9(AdapterContext& ctx) {
  if (ctx.node().IntAttribute("spatial", 1) != 1) return "spatial = 0 has no newer form";
  ctx.node().RemoveAttribute("spatial");
  return "";
}

// Training is no longer told by the number of outputs.
std::string AdaptBatchNormalization14(AdapterContext& ctx) {
  Node& node = ctx.node();
  for (size_t i = 1; i < node.outputs.size(); ++i) {
    if (HasOutput(node, i)) return "it has more than one output, the form for training";
  }
  if (!node.outputs.empty()) node.outputs.resize(1);
  return "";
}

// Bounds became inputs. The attributes' defaults, the ends of float32, clip nothing but infinities:
// they stay explicit only where they were given.
std::string AdaptClip11(AdapterContext& ctx) {
  Node& node = ctx.node();
  node.inputs.resize(1);
  for (const auto& [attribute, index] : {std::pair("min", 1), std::pair("max", 2)}) {
    if (node.FindAttribute(attribute) == nullptr) continue;
    const std::string obstacle = FloatToInput(ctx, attribute, index);
    if (!obstacle.empty()) return obstacle;
  }
  return "";
}

// The axis became an input; its default moved from 1 to -2, so it is always written.
std::string AdaptDft20(AdapterContext& ctx) {
  Node& node = ctx.node();
  const int64_t axis = node.IntAttribute("axis", 1);
  node.RemoveAttribute("axis");
  node.inputs.resize(3);
  node.inputs[2] = ctx.Int64s("axis", {}, std::vector<int64_t>{axis});
  return "";
}

// The mask turned from floats to booleans.
std::string AdaptDropout10(AdapterContext& ctx) {
  Node& node = ctx.node();
  if (node.outputs.size() < 2) return "";
  if (HasOutput(node, 1) && ctx.IsRead(node.outputs[1]))
    return "its mask is read, and changed type";
  node.outputs.resize(1);
  return "";
}

std::string AdaptDropout12(AdapterContext& ctx) {
  Node& node = ctx.node();
  const float ratio = node.FloatAttribute("ratio", 0.5f);
  node.RemoveAttribute("ratio");
  node.inputs.resize(2);
  // The ratio may be of any float type, whatever the data's. Without training_mode it changes
  // nothing.
  node.inputs[1] = ctx.Floats("ratio", DType::kFloat, {}, {ratio});
  return "";
}

// Scale and bias went from one number a group to one a channel: each is repeated C / G times.
std::string AdaptGroupNormalization21(AdapterContext& ctx) {
  Node& node = ctx.node();
  const int64_t groups = node.IntAttribute("num_groups", 0);
  if (groups < 1) return absl::StrCat("num_groups = ", groups);
  if (node.inputs.size() != 3) return "it must have three inputs";
  Node& channels = ctx.Before("Shape", {node.inputs[0]}, "channels");
  channels.SetInt("start", 1);
  channels.SetInt("end", 2);
  const std::string groups_value = ctx.Int64s("groups", std::vector<int64_t>{groups});
  const std::string repeats =
      ctx.Before("Div", {channels.outputs[0], groups_value}, "repeats").outputs[0];
  Node& both = ctx.Before("Concat", {groups_value, repeats}, "groups_by_repeats");
  both.SetInt("axis", 0);
  const std::string target = both.outputs[0];
  const std::string column = ctx.Int64s("column", std::vector<int64_t>{groups, 1});
  const std::string flat = ctx.Int64s("flat", std::vector<int64_t>{-1});
  for (const int input : {1, 2}) {
    const std::string what = input == 1 ? "scale" : "bias";
    const std::string tall =
        ctx.Before("Reshape", {node.inputs[input], column}, what + "_column").outputs[0];
    const std::string wide = ctx.Before("Expand", {tall, target}, what + "_expanded").outputs[0];
    node.inputs[input] = ctx.Before("Reshape", {wide, flat}, what + "_by_channel").outputs[0];
  }
  return "";
}

std::string AdaptPad11(AdapterContext& ctx) {
  Node& node = ctx.node();
  if (node.IntsAttribute("pads").empty()) return "it has no pads";
  node.inputs.resize(1);
  IntsToInput(ctx, "pads", 1);
  const float value = node.FloatAttribute("value", 0);
  if (value != 0 && node.StringAttribute("mode", "constant") == "constant") {
    return FloatToInput(ctx, "value", 2);
  }
  node.RemoveAttribute("value");
  return "";
}

std::string AdaptScan9(AdapterContext&) {
  return "a Scan of opset 8 works on batches, which newer ones do not";
}

std::string AdaptScatter11(AdapterContext& ctx) {
  ctx.node().op_type = "ScatterElements";
  return "";
}

std::string AdaptSlice10(AdapterContext& ctx) {
  Node& node = ctx.node();
  if (node.IntsAttribute("starts").empty() || node.IntsAttribute("ends").empty()) {
    return "it has no starts or ends";
  }
  node.inputs.resize(1);
  IntsToInput(ctx, "starts", 1);
  IntsToInput(ctx, "ends", 2);
  IntsToInput(ctx, "axes", 3);
  return "";
}

// Before 13 the input was seen as a matrix, [product of dims before axis, product of the rest], and
// the operator went along its rows; since then it goes along the one axis. Same for the last axis;
// else the matrix is made by hand:
//   shape = Shape(x); y = Reshape(Softmax(Flatten(x, axis), -1), shape)
std::string AdaptSoftmax13(AdapterContext& ctx) {
  Node& node = ctx.node();
  if (node.inputs.empty() || node.outputs.empty()) return "it has no input or output";
  const int64_t axis = node.IntAttribute("axis", 1);
  const std::optional<int64_t> rank = ctx.RankOf(node.inputs[0]);
  const bool last = axis == -1 || (rank.has_value() && axis == *rank - 1);
  if (!last) {
    const std::string shape = ctx.Before("Shape", {node.inputs[0]}, "shape").outputs[0];
    Node& flatten = ctx.Before("Flatten", {node.inputs[0]}, "matrix");
    flatten.SetInt("axis", axis);
    node.inputs[0] = flatten.outputs[0];
    const std::string result = ctx.FreshValue("rows");
    Node& reshape = ctx.After("Reshape", {result, shape}, "reshaped");
    reshape.outputs[0] = std::exchange(node.outputs[0], result);
  }
  node.SetInt("axis", -1);
  return "";
}

std::string AdaptSplit13(AdapterContext& ctx) {
  IntsToInput(ctx, "split", 1);
  return "";
}

// Equal parts are now asked for by their number.
std::string AdaptSplit18(AdapterContext& ctx) {
  Node& node = ctx.node();
  if (node.inputs.size() < 2 || node.inputs[1].empty()) {
    node.inputs.resize(1);
    node.SetInt("num_outputs", static_cast<int64_t>(node.outputs.size()));
  }
  return "";
}

std::string AdaptTopK10(AdapterContext& ctx) {
  Node& node = ctx.node();
  if (node.FindAttribute("k") == nullptr) return "it has no k";
  const int64_t k = node.IntAttribute("k", 0);
  node.RemoveAttribute("k");
  node.inputs.resize(2);
  node.inputs[1] = ctx.Int64s("k", std::vector<int64_t>{k});
  return "";
}

}  // namespace lathe::engine
