#include "worker/engine/lint/lint_context.h"

#include <algorithm>
#include <cstring>

#include "worker/engine/graph/function_parameters.h"
#include "worker/engine/graph/trace.h"

namespace lathe::engine {
namespace {

// Chains of Identity longer than this are nobody's export.
constexpr int kMaxIdentities = 16;

// A bias is added along the last axis: [N], [1, N], ...
bool IsRow(const Tensor& tensor) {
  for (size_t i = 0; i + 1 < tensor.dims.size(); ++i) {
    if (tensor.dims[i] != 1) return false;
  }
  return !tensor.dims.empty();
}

int64_t OutputAxis(const Node& node, const Quantizer& weight) {
  if (node.op_type == "Conv") return 0;
  if (node.op_type == "ConvTranspose") return 1;
  if (node.op_type == "Gemm") return node.IntAttribute("transB", 0) != 0 ? 0 : 1;
  return weight.integers == nullptr ? 1 : static_cast<int64_t>(weight.integers->dims.size()) - 1;
}

}  // namespace

bool IsOp(const Node& node, absl::string_view op) {
  return node.op_type == op && (node.domain.empty() || node.domain == "com.microsoft");
}

std::vector<float> Floats(const Tensor* tensor) {
  if (tensor == nullptr) return {};
  auto values = tensor->ToFloats();
  return values.ok() ? *std::move(values) : std::vector<float>();
}

std::vector<int64_t> Integers(const Tensor* tensor) {
  if (tensor == nullptr) return {};
  if (auto values = tensor->ToInt64s(); values.ok()) return *std::move(values);
  const absl::string_view bytes = tensor->data.view();
  std::vector<int64_t> out;
  if (IsSixteenBit(tensor->dtype)) {
    for (size_t i = 0; i + 1 < bytes.size(); i += 2) {
      uint16_t bits;
      std::memcpy(&bits, bytes.data() + i, 2);
      out.push_back(tensor->dtype == DType::kInt16 ? static_cast<int16_t>(bits) : bits);
    }
  } else if (tensor->dtype == DType::kInt4 || tensor->dtype == DType::kUint4) {
    for (int64_t i = 0; i < tensor->size(); ++i) {
      const auto byte = static_cast<uint8_t>(bytes[static_cast<size_t>(i / 2)]);
      const int64_t nibble = i % 2 == 0 ? byte & 15 : byte >> 4;
      out.push_back(tensor->dtype == DType::kInt4 && nibble > 7 ? nibble - 16 : nibble);
    }
  }
  return out;
}

std::optional<int64_t> ZeroPoint(const Quantizer& quantizer) {
  if (quantizer.zero_point_computed) return std::nullopt;
  if (quantizer.zero_point == nullptr) return 0;
  const std::vector<int64_t> values = Integers(quantizer.zero_point);
  if (values.empty()) return std::nullopt;
  for (const int64_t value : values) {
    if (value != values.front()) return std::nullopt;
  }
  return values.front();
}

bool SameParameters(const Quantizer& a, const Quantizer& b) {
  if (!a.constant_parameters() || !b.constant_parameters() || a.dtype != b.dtype) return false;
  return Floats(a.scale) == Floats(b.scale) && ZeroPoint(a) == ZeroPoint(b);
}

bool IsEightBit(DType dtype) { return dtype == DType::kInt8 || dtype == DType::kUint8; }
bool IsSixteenBit(DType dtype) { return dtype == DType::kInt16 || dtype == DType::kUint16; }

const std::string& InputOf(const Node& node, size_t index) {
  static const std::string* const none = new std::string();
  return index < node.inputs.size() ? node.inputs[index] : *none;
}

const std::string& OutputOf(const Node& node) {
  static const std::string* const none = new std::string();
  return node.outputs.empty() ? *none : node.outputs.front();
}

LintContext::LintContext(const Model& model, const Bindings& bindings)
    : model_(model), index_(model), inference_(InferShapes(model, bindings)) {
  for (const ScopeIndex::Place& place : index_.nodes()) {
    if (auto group = AsGroup(place.graph, *place.node)) groups_.push_back(*std::move(group));
  }
}

int64_t LintContext::Opset(const Graph* graph) const {
  while (graph->parent != nullptr) graph = graph->parent;
  const Function* function = FunctionOfBody(model_, graph);
  if (function == nullptr) return model_.OpsetVersion("");
  const auto found = function->opset_imports.find("");
  return found == function->opset_imports.end() ? 0 : found->second;
}

const Node* LintContext::Producer(const Graph* graph, const std::string& value) const {
  if (value.empty()) return nullptr;
  const Definition* definition = index_.Resolve(graph, value);
  if (definition == nullptr || definition->kind != Definition::Kind::kNode) return nullptr;
  return definition->node;
}

const std::vector<Reader>& LintContext::Readers(const Graph* graph,
                                                const std::string& value) const {
  static const std::vector<Reader>* const none = new std::vector<Reader>();
  const Definition* definition = value.empty() ? nullptr : index_.Resolve(graph, value);
  return definition == nullptr ? *none : definition->readers;
}

const Node* LintContext::OnlyReader(const Graph* graph, const std::string& value) const {
  const std::vector<Reader>& readers = Readers(graph, value);
  return readers.size() == 1 ? readers.front().node : nullptr;
}

const Tensor* LintContext::Constant(const Graph* graph, const std::string& value) const {
  if (value.empty()) return nullptr;
  const Definition* definition = index_.Resolve(graph, value);
  for (int i = 0; i < kMaxIdentities && definition != nullptr; ++i) {
    if (definition->node == nullptr || !definition->node->Is("Identity")) {
      return ConstantTensor(*definition);
    }
    definition = index_.Resolve(definition->graph, InputOf(*definition->node, 0));
  }
  return nullptr;
}

DType LintContext::TypeOf(const Graph* graph, const std::string& value) const {
  if (value.empty()) return DType::kUndefined;
  if (const Tensor* constant = Constant(graph, value)) return constant->dtype;
  const Definition* definition = index_.Resolve(graph, value);
  if (definition == nullptr) return DType::kUndefined;
  const ValueFact* fact = inference_.Find(definition->graph, value);
  return fact == nullptr ? DType::kUndefined : fact->dtype;
}

Shape LintContext::DimsOf(const Graph* graph, const std::string& value) const {
  if (value.empty()) return {};
  if (const Tensor* constant = Constant(graph, value)) return constant->dims;
  const Definition* definition = index_.Resolve(graph, value);
  if (definition == nullptr) return {};
  const ValueFact* fact = inference_.Find(definition->graph, value);
  return fact == nullptr || !fact->ranked ? Shape() : fact->dims;
}

std::optional<Quantizer> LintContext::AsQuantizer(const Graph* graph, const Node& node) const {
  const bool dequantizes = IsOp(node, "DequantizeLinear");
  if (!dequantizes && !IsOp(node, "QuantizeLinear")) return std::nullopt;
  Quantizer out;
  out.graph = graph;
  out.node = &node;
  out.dequantizes = dequantizes;
  out.scale = Constant(graph, InputOf(node, 1));
  const std::string& zero_point = InputOf(node, 2);
  out.zero_point = Constant(graph, zero_point);
  out.zero_point_computed = !zero_point.empty() && out.zero_point == nullptr;
  out.axis = node.IntAttribute("axis", 1);
  out.block_size = node.IntAttribute("block_size", 0);
  if (!zero_point.empty()) out.dtype = TypeOf(graph, zero_point);
  if (dequantizes) {
    out.integers = Constant(graph, InputOf(node, 0));
    if (out.dtype == DType::kUndefined) out.dtype = TypeOf(graph, InputOf(node, 0));
  } else if (out.dtype == DType::kUndefined) {
    const int64_t given = node.IntAttribute("output_dtype", 0);
    out.dtype = given == 0 ? DType::kUint8 : static_cast<DType>(given);
  }
  return out;
}

std::optional<Quantizer> LintContext::Dequantizer(const Graph* graph,
                                                  const std::string& value) const {
  const Definition* definition = value.empty() ? nullptr : index_.Resolve(graph, value);
  if (definition == nullptr || definition->node == nullptr) return std::nullopt;
  if (!IsOp(*definition->node, "DequantizeLinear")) return std::nullopt;
  return AsQuantizer(definition->graph, *definition->node);
}

std::optional<Quantizer> LintContext::QuantizedReader(const Graph* graph,
                                                      const std::string& value) const {
  for (const Reader& reader : Readers(graph, value)) {
    if (reader.node != nullptr && reader.input == 0 && IsOp(*reader.node, "QuantizeLinear")) {
      return AsQuantizer(reader.graph, *reader.node);
    }
  }
  return std::nullopt;
}

void LintContext::FindBias(LinearGroup& group) const {
  group.output = OutputOf(*group.node);
  if (group.node->op_type != "MatMul") {
    group.bias = InputOf(*group.node, 2);
  } else {
    const Node* add = OnlyReader(group.graph, group.output);
    if (add == nullptr || !add->Is("Add") || add->inputs.size() != 2) return;
    const std::string& other = add->inputs[add->inputs[0] == group.output ? 1 : 0];
    const std::optional<Quantizer> dequantizer = Dequantizer(group.graph, other);
    const Tensor* constant = dequantizer ? dequantizer->integers : Constant(group.graph, other);
    if (constant == nullptr || !IsRow(*constant)) return;
    group.bias = other;
    group.add = add;
    group.output = OutputOf(*add);
  }
  group.bias_dequantizer = Dequantizer(group.graph, group.bias);
  const Tensor* constant = Constant(group.graph, group.bias);
  if (constant != nullptr && IsFloat(constant->dtype)) group.float_bias = constant;
}

void LintContext::FindOutput(LinearGroup& group) const {
  const Node* next = OnlyReader(group.graph, group.output);
  if (next != nullptr &&
      (next->Is("Relu") || (next->Is("Clip") && InputOf(*next, 0) == group.output))) {
    group.activation = next;
    group.output = OutputOf(*next);
  }
  group.quantized_output = QuantizedReader(group.graph, group.output);
  for (const Reader& reader : Readers(group.graph, group.output)) {
    group.other_readers += reader.node == nullptr || !IsOp(*reader.node, "QuantizeLinear");
  }
}

std::optional<LinearGroup> LintContext::AsGroup(const Graph* graph, const Node& node) const {
  if (!node.Is("Conv") && !node.Is("ConvTranspose") && !node.Is("MatMul") && !node.Is("Gemm")) {
    return std::nullopt;
  }
  LinearGroup group;
  group.graph = graph;
  group.node = &node;
  group.data = Dequantizer(graph, InputOf(node, 0));
  group.weight = Dequantizer(graph, InputOf(node, 1));
  if (!group.data && !group.weight) return std::nullopt;
  if (group.weight) group.output_axis = OutputAxis(node, *group.weight);
  FindBias(group);
  FindOutput(group);
  return group;
}

}  // namespace lathe::engine
