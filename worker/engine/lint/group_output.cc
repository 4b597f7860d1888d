// What follows a quantized operator. Its kernel writes 8 bits, so that its one reader must be the
// QuantizeLinear that says how, and a Relu or Clip between them must be what that range does
// anyhow.
#include <cmath>

#include "absl/strings/str_cat.h"
#include "worker/engine/lint/rule_checks.h"

namespace lathe::engine {
namespace {

// Bounds are compared as ONNX Runtime does, in float32, so that 6/255 rounded is still 6/255.
constexpr double kBoundTolerance = 1e-5;

bool HasQuantizedWeight(const LinearGroup& group) {
  return group.data && group.weight && group.weight->integers != nullptr;
}

std::optional<double> Scalar(const LintContext& lint, const Graph* graph, const std::string& name) {
  const std::vector<float> values = Floats(lint.Constant(graph, name));
  if (values.size() != 1) return std::nullopt;
  return values[0];
}

struct Range {
  double low = -INFINITY;
  double high = INFINITY;
  bool known = true;
};

Range RangeOf(const LintContext& lint, const LinearGroup& group) {
  const Node& node = *group.activation;
  if (node.Is("Relu")) return {0, INFINITY, true};
  if (lint.Opset(group.graph) < 11) {
    return {node.FloatAttribute("min", -INFINITY), node.FloatAttribute("max", INFINITY), true};
  }
  Range range;
  for (const size_t input : {size_t{1}, size_t{2}}) {
    const std::string& name = InputOf(node, input);
    if (name.empty()) continue;
    const std::optional<double> bound = Scalar(lint, group.graph, name);
    range.known = range.known && bound;
    (input == 1 ? range.low : range.high) = bound.value_or(0);
  }
  return range;
}

}  // namespace

void CheckActivation(const LintContext& lint, Findings& findings) {
  for (const LinearGroup& group : lint.groups()) {
    if (!HasQuantizedWeight(group) || group.activation == nullptr) continue;
    if (!group.quantized_output || !IsEightBit(group.quantized_output->dtype)) continue;
    const Quantizer& output = *group.quantized_output;
    const std::vector<float> scales = Floats(output.scale);
    const std::optional<int64_t> zero = ZeroPoint(output);
    if (scales.size() != 1 || !zero) continue;
    const double lowest = output.dtype == DType::kInt8 ? -128 : 0;
    const double low = (lowest - static_cast<double>(*zero)) * scales[0];
    const double high = (lowest + 255 - static_cast<double>(*zero)) * scales[0];
    const Range range = RangeOf(lint, group);
    const double slack = kBoundTolerance * std::max(1.0, std::abs(high));
    if (range.known && low >= range.low - slack && high <= range.high + slack) continue;
    findings.Add(group.activation, output.node == nullptr ? "" : OutputOf(*output.node),
                 absl::StrCat("the quantized range [", low, ", ", high,
                              "] does not lie within what ", group.activation->op_type,
                              " lets through", range.known ? "" : " (its bounds are not constants)",
                              ", so that it stays, and ", DescribeNode(*group.node),
                              " before it runs in float"));
  }
}

void CheckFloatReader(const LintContext& lint, Findings& findings) {
  for (const LinearGroup& group : lint.groups()) {
    if (!HasQuantizedWeight(group) || !group.quantized_output || group.other_readers == 0) continue;
    findings.Add(group.node, group.output,
                 absl::StrCat("beside its QuantizeLinear, ", group.other_readers,
                              " other readers (or graph outputs) want its result in float: it "
                              "runs in float"));
  }
}

void CheckMissingQuantize(const LintContext& lint, Findings& findings) {
  for (const LinearGroup& group : lint.groups()) {
    if (!HasQuantizedWeight(group) || !group.node->Is("Conv") || group.quantized_output) continue;
    findings.Add(group.node, group.output,
                 "its operands are quantized, its result is not: there is no kernel that gives "
                 "float, so that it runs in float and its weights are dequantized at every run");
  }
}

}  // namespace lathe::engine
