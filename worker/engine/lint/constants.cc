// Constants: in half precision, left beside what replaced them, read by nobody; and their extents.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>

#include "absl/strings/str_cat.h"
#include "worker/engine/graph/trace.h"
#include "worker/engine/lint/rule_checks.h"

namespace lathe::engine {
namespace {

// Smaller constants are shapes and scales.
constexpr int64_t kWeightElements = 64;
// Of a pair of tensors, so many elements are compared, and so many pairs of one shape are.
constexpr int64_t kComparedElements = 256;
constexpr size_t kComparedTensors = 16;
constexpr int64_t kChannels = 16;  // AVX-512
constexpr int64_t kHalfChannels = 8;

bool IsArithmetic(const Node& node) {
  return node.Is("Conv") || node.Is("ConvTranspose") || node.Is("MatMul") || node.Is("Gemm") ||
         node.Is("LSTM") || node.Is("GRU") || node.Is("RNN") || node.Is("Einsum");
}

// The quantized constants of a model, by shape.
using QuantizedConstants = std::map<Shape, std::vector<Quantizer>>;

QuantizedConstants FindQuantized(const LintContext& lint) {
  QuantizedConstants out;
  for (const ScopeIndex::Place& place : lint.nodes()) {
    const auto quantizer = lint.AsQuantizer(place.graph, *place.node);
    if (!quantizer || quantizer->integers == nullptr || !quantizer->constant_parameters()) continue;
    if (quantizer->block_size != 0 || !IsEightBit(quantizer->dtype)) continue;
    if (quantizer->integers->size() < kWeightElements) continue;
    std::vector<Quantizer>& same = out[quantizer->integers->dims];
    if (same.size() < kComparedTensors) same.push_back(*quantizer);
  }
  return out;
}

// Whether the first elements of `tensor` are those of `quantized`, rounded or clipped.
bool IsOriginalOf(const Tensor& tensor, const Quantizer& quantized) {
  const std::vector<float> scales = Floats(quantized.scale);
  const std::vector<int64_t> zeros = Integers(quantized.zero_point);
  const Shape& dims = tensor.dims;
  const auto rank = static_cast<int64_t>(dims.size());
  const int64_t axis = quantized.axis < 0 ? quantized.axis + rank : quantized.axis;
  if (scales.empty()) return false;
  if (scales.size() > 1 && (axis < 0 || axis >= rank)) return false;
  int64_t inner = 1;
  for (int64_t i = axis + 1; i < rank; ++i) inner *= dims[static_cast<size_t>(i)];
  const absl::string_view bytes = quantized.integers->data.view();
  const int64_t count = std::min<int64_t>(tensor.size(), kComparedElements);
  int64_t near = 0;
  for (int64_t i = 0; i < count; ++i) {
    const auto at = static_cast<size_t>(i);
    const size_t channel = scales.size() == 1 ? 0 : static_cast<size_t>(i / inner) % scales.size();
    const int64_t zero = zeros.empty() ? 0 : zeros[zeros.size() == 1 ? 0 : channel % zeros.size()];
    const int64_t q = quantized.dtype == DType::kInt8 ? static_cast<int8_t>(bytes[at])
                                                      : static_cast<uint8_t>(bytes[at]);
    float value;  // of a file, where it may lie anywhere
    std::memcpy(&value, tensor.data.view().data() + at * sizeof(value), sizeof(value));
    near += std::abs(value - static_cast<float>(q - zero) * scales[channel]) <= scales[channel];
  }
  return near * 10 >= count * 9;
}

struct StoredConstant {
  const Node* node = nullptr;  // of a Constant
  const Definition* definition = nullptr;
  const Tensor* tensor = nullptr;
};

// Initializers and Constants of all graphs.
template <typename Fn>
void ForEachConstant(const LintContext& lint, Fn fn) {
  const auto visit = [&](const Graph& graph, const std::string& name, const Node* node) {
    const Definition* definition = lint.index().Resolve(&graph, name);
    const Tensor* tensor = definition == nullptr ? nullptr : ConstantTensor(*definition);
    if (tensor != nullptr) fn(StoredConstant{node, definition, tensor});
  };
  const auto visit_graph = [&](const Graph& graph) {
    for (const auto& [name, tensor] : graph.initializers) visit(graph, name, nullptr);
  };
  visit_graph(*lint.model().graph);
  for (const ScopeIndex::Place& place : lint.nodes()) {
    for (const Attribute& attribute : place.node->attributes) {
      for (const auto& sub : attribute.graphs) visit_graph(*sub);
    }
    if (place.node->Is("Constant")) visit(*place.graph, OutputOf(*place.node), place.node);
  }
}

}  // namespace

void CheckHalfPrecision(const LintContext& lint, Findings& findings) {
  int64_t count = 0;
  const Node* first = nullptr;
  for (const ScopeIndex::Place& place : lint.nodes()) {
    if (!IsArithmetic(*place.node)) continue;
    if (lint.TypeOf(place.graph, InputOf(*place.node, 0)) != DType::kFloat16) continue;
    if (first == nullptr) first = place.node;
    ++count;
  }
  if (first == nullptr) return;
  findings.Add(first, InputOf(*first, 0),
               absl::StrCat(count,
                            " linear operators compute in float16: on x86 their operands "
                            "are cast to float32 and back, and nothing is gained but bytes"));
}

void CheckDuplicateWeights(const LintContext& lint, Findings& findings) {
  const QuantizedConstants quantized = FindQuantized(lint);
  ForEachConstant(lint, [&](const StoredConstant& constant) {
    if (constant.tensor->dtype != DType::kFloat) return;
    const auto same = quantized.find(constant.tensor->dims);
    if (same == quantized.end()) return;
    for (const Quantizer& candidate : same->second) {
      if (!IsOriginalOf(*constant.tensor, candidate)) continue;
      findings.Add(constant.node, constant.definition->name,
                   absl::StrCat("these ", constant.tensor->byte_size(), " bytes are '",
                                InputOf(*candidate.node, 0),
                                "' before it was quantized: the file holds both"));
      return;
    }
  });
}

void CheckUnusedConstants(const LintContext& lint, Findings& findings) {
  ForEachConstant(lint, [&](const StoredConstant& constant) {
    if (!constant.definition->readers.empty()) return;
    findings.Add(constant.node, constant.definition->name,
                 absl::StrCat("nothing reads these ", constant.tensor->byte_size(),
                              " bytes; ONNX Runtime drops them at load"));
  });
}

void CheckChannelCount(const LintContext& lint, Findings& findings) {
  for (const ScopeIndex::Place& place : lint.nodes()) {
    if (!place.node->Is("Conv") || place.node->IntAttribute("group", 1) != 1) continue;
    const Tensor* weight = lint.Constant(place.graph, InputOf(*place.node, 1));
    if (weight == nullptr || !IsFloat(weight->dtype) || weight->dims.size() < 3) continue;
    const int64_t channels = weight->dims[0];
    if (channels <= kChannels || channels % kChannels == 0) continue;
    findings.Add(Severity::kNote, place.node, InputOf(*place.node, 1),
                 absl::StrCat("its ", channels, " output channels do not fill blocks of ",
                              kChannels, ": the last block costs as much as a full one"),
                 "", channels % kHalfChannels == 0 ? kVnni : kX86);
  }
}

}  // namespace lathe::engine
