// Operators between a DequantizeLinear and a QuantizeLinear. Some have an 8-bit kernel; some move
// 8-bit values about, so that the pair is dropped when both say the same; the rest run in float
// between two nodes that cost time and accuracy.
#include <algorithm>
#include <array>

#include "absl/strings/str_cat.h"
#include "worker/engine/lint/rule_checks.h"

namespace lathe::engine {
namespace {

// With a QLinear kernel.
constexpr std::array kFused = {"Add",     "Mul",          "Concat",    "AveragePool",
                               "Sigmoid", "Softmax",      "LeakyRelu", "GlobalAveragePool",
                               "Where",   "Conv",         "MatMul",    "Gemm",
                               "ArgMax",  "ConvTranspose"};
// Run on the integers themselves.
constexpr std::array kMoving = {"MaxPool", "ReduceMax", "ReduceMin", "Resize",    "Reshape",
                                "Flatten", "Transpose", "Squeeze",   "Unsqueeze", "Slice",
                                "Gather",  "Expand",    "Tile",      "Split"};
// Pieces of layer normalization, GELU and softmax as exporters write them out.
constexpr std::array kPieces = {"Sub", "Div", "Pow",        "Sqrt", "ReduceMean", "ReduceSum",
                                "Exp", "Erf", "Reciprocal", "Neg",  "Log"};
// Of more than one activation.
constexpr std::array kSeveral = {"Add", "Mul", "Concat", "Where"};

template <typename List>
bool Has(const List& list, const Node& node) {
  return node.domain.empty() && std::find(list.begin(), list.end(), node.op_type) != list.end();
}

// DequantizeLinear -> node -> QuantizeLinear.
struct Pair {
  const Graph* graph = nullptr;
  const Node* node = nullptr;
  Quantizer input;   // of the first input that is an activation
  Quantizer output;  // of the first output
};

std::optional<Pair> AsPair(const LintContext& lint, const ScopeIndex::Place& place) {
  const Node& node = *place.node;
  if (lint.AsQuantizer(place.graph, node)) return std::nullopt;
  const size_t first = node.Is("Where") ? 1 : 0;
  const auto input = lint.Dequantizer(place.graph, InputOf(node, first));
  if (!input || input->integers != nullptr) return std::nullopt;
  const auto output = lint.QuantizedReader(place.graph, OutputOf(node));
  if (!output) return std::nullopt;
  return Pair{place.graph, &node, *input, *output};
}

template <typename Fn>
void ForEachPair(const LintContext& lint, Fn fn) {
  for (const ScopeIndex::Place& place : lint.nodes()) {
    if (const auto pair = AsPair(lint, place)) fn(*pair);
  }
}

std::string Parameters(const Quantizer& quantizer) {
  const std::vector<float> scales = Floats(quantizer.scale);
  return absl::StrCat(DTypeName(quantizer.dtype), " scale ",
                      scales.size() == 1 ? absl::StrCat(scales[0]) : "?", " zero point ",
                      ZeroPoint(quantizer) ? absl::StrCat(*ZeroPoint(quantizer)) : "?");
}

// A Relu vanishes where the range that follows begins at zero.
bool IsAbsorbed(const Pair& pair) {
  if (pair.node->Is("Clip")) return true;  // told of where it follows a linear operator
  if (!pair.node->Is("Relu")) return false;
  return ZeroPoint(pair.output) == (pair.output.dtype == DType::kInt8 ? -128 : 0);
}

}  // namespace

void CheckSameScale(const LintContext& lint, Findings& findings) {
  ForEachPair(lint, [&](const Pair& pair) {
    if (!Has(kMoving, *pair.node) || SameParameters(pair.input, pair.output)) return;
    if (!pair.input.constant_parameters() || !pair.output.constant_parameters()) return;
    findings.Add(
        pair.node, OutputOf(*pair.output.node),
        absl::StrCat("takes ", Parameters(pair.input), " and gives ", Parameters(pair.output),
                     ": it could move the integers as they are, and runs in float "
                     "between a DequantizeLinear and a QuantizeLinear"));
  });
}

void CheckMixedTypes(const LintContext& lint, Findings& findings) {
  ForEachPair(lint, [&](const Pair& pair) {
    if (!Has(kFused, *pair.node)) return;
    bool is_signed = pair.output.dtype == DType::kInt8;
    bool is_unsigned = pair.output.dtype == DType::kUint8;
    const auto see = [&](const std::optional<Quantizer>& input) {
      if (!input || input->integers != nullptr) return;
      is_signed = is_signed || input->dtype == DType::kInt8;
      is_unsigned = is_unsigned || input->dtype == DType::kUint8;
    };
    for (const std::string& input : pair.node->inputs) see(lint.Dequantizer(pair.graph, input));
    if (!is_signed || !is_unsigned) return;
    findings.Add(pair.node, OutputOf(*pair.node),
                 "mixes int8 and uint8 activations: where they are not made one type at load (on "
                 "ARM, or with session.qdqisint8allowed=1), it runs in float");
  });
}

void CheckHalfQuantized(const LintContext& lint, Findings& findings) {
  for (const ScopeIndex::Place& place : lint.nodes()) {
    const Node& node = *place.node;
    if (!Has(kSeveral, node) || !lint.QuantizedReader(place.graph, OutputOf(node))) continue;
    std::string plain;
    bool quantized = false;
    for (size_t i = node.Is("Where") ? 1 : 0; i < node.inputs.size(); ++i) {
      const auto input = lint.Dequantizer(place.graph, node.inputs[i]);
      if (input) {
        quantized = quantized || input->integers == nullptr;
      } else if (plain.empty()) {
        plain = node.inputs[i];
      }
    }
    if (!quantized || plain.empty()) continue;
    findings.Add(&node, plain,
                 absl::StrCat("its result and some of its inputs are quantized, '", plain,
                              "' is not: it runs in float"));
  }
}

void CheckUnfusedOp(const LintContext& lint, Findings& findings) {
  ForEachPair(lint, [&](const Pair& pair) {
    const Node& node = *pair.node;
    if (Has(kFused, node) || Has(kMoving, node) || Has(kPieces, node) || IsAbsorbed(pair)) return;
    findings.Add(
        &node, OutputOf(node),
        absl::StrCat("there is no 8-bit kernel for ", node.op_type,
                     ": it runs in float between a DequantizeLinear and a QuantizeLinear"));
  });
}

void CheckDecomposed(const LintContext& lint, Findings& findings) {
  ForEachPair(lint, [&](const Pair& pair) {
    if (!Has(kPieces, *pair.node)) return;
    findings.Add(pair.node, OutputOf(*pair.node),
                 absl::StrCat("a quantized ", pair.node->op_type,
                              ", as in a written-out layer normalization, GELU or softmax, runs "
                              "in float between two needless nodes, and its range costs most of "
                              "the accuracy"));
  });
}

}  // namespace lathe::engine
