// Quantized weights of float operators. A DequantizeLinear of a constant is not folded at load: it
// runs before its reader at every run, unless the pair becomes MatMulNBits.
#include "absl/strings/str_cat.h"
#include "worker/engine/lint/rule_checks.h"

namespace lathe::engine {
namespace {

constexpr int64_t kSmallestBlock = 16;

bool IsPowerOfTwo(int64_t value) { return value > 0 && (value & (value - 1)) == 0; }

// Why DequantizeLinear -> MatMul or Gemm does not become MatMulNBits; "" when it does.
std::string ProductProblem(const LintContext& lint, const LinearGroup& group) {
  const Node& node = *group.node;
  const Quantizer& weight = *group.weight;
  if (node.Is("Gemm")) {
    if (node.IntAttribute("transB", 0) != 0) return "transB is 1";
    if (node.IntAttribute("transA", 0) != 0) return "transA is 1";
    if (node.FloatAttribute("alpha", 1) != 1) return "alpha is not 1";
  }
  if (weight.integers->dims.size() != 2) return "the weight is no matrix";
  if (!IsEightBit(weight.dtype) && weight.dtype != DType::kInt4 && weight.dtype != DType::kUint4) {
    return absl::StrCat("the weight is ", DTypeName(weight.dtype));
  }
  if (!weight.constant_parameters()) return "its scales are not constant";
  const int64_t axis = weight.axis < 0 ? weight.axis + 2 : weight.axis;
  if (weight.block_size != 0) {
    if (axis != 0) return "its blocks do not lie along K";
    if (weight.block_size < kSmallestBlock || !IsPowerOfTwo(weight.block_size)) {
      return absl::StrCat("its block size is ", weight.block_size);
    }
  } else if (!weight.per_tensor() && axis != 1) {
    return "its scales do not lie along the output channels";
  }
  if (lint.OnlyReader(weight.graph, OutputOf(*weight.node)) == nullptr) {
    return "the dequantized weight has several readers";
  }
  return "";
}

}  // namespace

void CheckWeightOnly(const LintContext& lint, Findings& findings) {
  for (const LinearGroup& group : lint.groups()) {
    if (group.data || !group.weight || group.weight->integers == nullptr) continue;
    const bool product = group.node->Is("MatMul") || group.node->Is("Gemm");
    const std::string problem = product
                                    ? ProductProblem(lint, group)
                                    : absl::StrCat("there is no kernel of ", group.node->op_type,
                                                   " with a quantized weight alone");
    if (problem.empty()) continue;
    findings.Add(group.node, InputOf(*group.weight->node, 0),
                 absl::StrCat("its weight alone is quantized and is dequantized at every run, as ",
                              problem));
  }
}

void CheckDequantizedTable(const LintContext& lint, Findings& findings) {
  for (const ScopeIndex::Place& place : lint.nodes()) {
    if (!place.node->Is("Gather")) continue;
    const std::optional<Quantizer> table = lint.Dequantizer(place.graph, InputOf(*place.node, 0));
    if (!table || table->integers == nullptr || table->integers->dims.empty()) continue;
    findings.Add(place.node, InputOf(*table->node, 0),
                 absl::StrCat("all ", table->integers->dims[0],
                              " rows of the table are dequantized at every run, not those that "
                              "are looked up"));
  }
}

}  // namespace lathe::engine
