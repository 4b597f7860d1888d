// Integer operators written out in the file: QLinearConv, QLinearMatMul, ConvInteger,
// MatMulInteger.
#include "absl/strings/str_cat.h"
#include "worker/engine/lint/rule_checks.h"

namespace lathe::engine {
namespace {

bool IsLinear(const Node& node) { return node.Is("QLinearConv") || node.Is("QLinearMatMul"); }

bool IsIntegerOp(const Node& node) {
  return IsLinear(node) || node.Is("ConvInteger") || node.Is("MatMulInteger");
}

DType WeightType(const LintContext& lint, const ScopeIndex::Place& place) {
  return lint.TypeOf(place.graph, InputOf(*place.node, IsLinear(*place.node) ? 3 : 1));
}

}  // namespace

void CheckSignedActivations(const LintContext& lint, Findings& findings) {
  for (const ScopeIndex::Place& place : lint.nodes()) {
    const Node& node = *place.node;
    if (!IsIntegerOp(node)) continue;
    if (lint.TypeOf(place.graph, InputOf(node, 0)) != DType::kInt8) continue;
    if (IsLinear(node) && WeightType(lint, place) == DType::kUint8) {
      findings.Add(Severity::kError, &node, InputOf(node, 0),
                   absl::StrCat("int8 activations with a uint8 weight: there is no such ",
                                node.op_type, ", and the file is not loaded"),
                   "", kPortable);
    } else {
      findings.Add(&node, InputOf(node, 0),
                   absl::StrCat("its activations are int8: on x86 ", node.op_type,
                                " has fast kernels for uint8 alone, and takes 7 to 30 times as "
                                "long"));
    }
  }
}

void CheckUnsignedWeights(const LintContext& lint, Findings& findings) {
  static const char* const kMessage =
      "its weight is uint8: with VNNI a product of uint8 with uint8 takes 2 to 3 times as long as "
      "one with int8";
  for (const LinearGroup& group : lint.groups()) {
    if (!group.data || !group.weight || group.weight->integers == nullptr) continue;
    if (group.data->dtype != DType::kUint8 || group.weight->dtype != DType::kUint8) continue;
    findings.Add(group.node, InputOf(*group.weight->node, 0), kMessage);
  }
  for (const ScopeIndex::Place& place : lint.nodes()) {
    const Node& node = *place.node;
    if (!IsIntegerOp(node) || WeightType(lint, place) != DType::kUint8) continue;
    if (lint.TypeOf(place.graph, InputOf(node, 0)) != DType::kUint8) continue;
    findings.Add(&node, InputOf(node, IsLinear(node) ? 3 : 1), kMessage);
  }
}

void CheckDynamicConv(const LintContext& lint, Findings& findings) {
  for (const ScopeIndex::Place& place : lint.nodes()) {
    if (!place.node->Is("ConvInteger")) continue;
    const Node* producer = lint.Producer(place.graph, InputOf(*place.node, 0));
    const bool dynamic = producer != nullptr && producer->Is("DynamicQuantizeLinear");
    findings.Add(place.node, InputOf(*place.node, 1),
                 absl::StrCat(dynamic ? "a dynamically quantized convolution" : "ConvInteger",
                              " does not fuse with what quantizes it and scales its result, and "
                              "takes 2 to 8 times as long as the float Conv"));
  }
}

}  // namespace lathe::engine
