// Forms of a weight that the fusions of ONNX Runtime do not expect.
#include "absl/strings/str_cat.h"
#include "worker/engine/lint/rule_checks.h"

namespace lathe::engine {

// The axis is not compared with the operator. Where both axes have the same extent, scales of the
// one are taken for the other's.
void CheckWeightAxis(const LintContext& lint, Findings& findings) {
  for (const LinearGroup& group : lint.groups()) {
    if (!group.data || !group.weight || group.weight->integers == nullptr) continue;
    const Quantizer& weight = *group.weight;
    if (weight.scale == nullptr || weight.per_tensor() || weight.block_size != 0) continue;
    const auto rank = static_cast<int64_t>(weight.integers->dims.size());
    const int64_t axis = weight.axis < 0 ? weight.axis + rank : weight.axis;
    if (rank < 2 || axis == group.output_axis || axis < 0 || axis >= rank) continue;
    const Shape& dims = weight.integers->dims;
    const bool same =
        dims[static_cast<size_t>(axis)] == dims[static_cast<size_t>(group.output_axis)];
    findings.Add(same ? Severity::kError : Severity::kSlow, group.node, InputOf(*group.node, 1),
                 absl::StrCat("the weight is dequantized along axis ", axis,
                              ", its output channels lie along axis ", group.output_axis, ": ",
                              same ? "both have the same extent, so that fused kernels take the "
                                     "scales for the output channels' and give wrong values"
                                   : "it does not fuse and runs in float"),
                 "", same ? kEverywhere : kPortable);
  }
}

void CheckFloatWeight(const LintContext& lint, Findings& findings) {
  for (const LinearGroup& group : lint.groups()) {
    const Tensor* weight = lint.Constant(group.graph, InputOf(*group.node, 1));
    if (!group.data || weight == nullptr || !IsFloat(weight->dtype)) continue;
    findings.Add(group.node, InputOf(*group.node, 1),
                 "its data is quantized, its weight is float: older releases run it in float "
                 "between a needless pair, newer ones quantize the weight themselves, with one "
                 "scale for all channels");
  }
}

void CheckGemmForm(const LintContext& lint, Findings& findings) {
  for (const LinearGroup& group : lint.groups()) {
    if (!group.node->Is("Gemm") || !group.data || !group.weight) continue;
    if (group.bias.empty() || group.node->FloatAttribute("beta", 1) == 1) continue;
    findings.Add(group.node, group.bias,
                 absl::StrCat("beta is ", group.node->FloatAttribute("beta", 1),
                              "; QGemm knows 1 only, so that it runs in float"));
  }
}

void CheckTransposedConv(const LintContext& lint, Findings& findings) {
  for (const LinearGroup& group : lint.groups()) {
    if (!group.node->Is("ConvTranspose")) continue;
    findings.Add(group.node, InputOf(*group.node, 1),
                 "there is no 8-bit kernel for ConvTranspose: it runs in float, and its operands "
                 "are dequantized at every run");
  }
}

}  // namespace lathe::engine
