#include <set>
#include <unordered_map>
#include <utility>

#include "worker/engine/evaluate/decode.h"
#include "worker/engine/evaluate/weight_error.h"
#include "worker/engine/graph/edit.h"
#include "worker/engine/graph/layers.h"
#include "worker/engine/graph/scopes.h"
#include "worker/engine/graph/trace.h"
#include "worker/engine/ops/value_fact.h"

namespace lathe::engine {
namespace {

// Marks the constants that a weight operand is computed from.
class Marker {
 public:
  explicit Marker(const ScopeIndex& index) : index_(index) {}

  void Mark(const Graph* graph, const std::string& value) {
    std::vector<const Definition*> open = {index_.Resolve(graph, value)};
    while (!open.empty()) {
      const Definition* definition = open.back();
      open.pop_back();
      if (definition == nullptr || !seen_.insert(definition).second) continue;
      if (definition->kind != Definition::Kind::kNode) continue;
      for (const std::string& input : definition->node->inputs) {
        if (!input.empty()) open.push_back(index_.Resolve(definition->graph, input));
      }
    }
  }
  bool Marked(const Definition& definition) const { return seen_.count(&definition) != 0; }

 private:
  const ScopeIndex& index_;
  std::set<const Definition*> seen_;
};

// Scales and zero points that a quantized operator takes beside its weight.
bool IsQuantizer(const Node& node) {
  const std::string& op = node.op_type;
  return op.find("Quantize") != std::string::npos || op.find("QLinear") != std::string::npos ||
         op.find("Integer") != std::string::npos || op == "MatMulNBits" || op == "QGemm" ||
         op == "QAttention";
}

bool FeedsOnlyQuantizers(const Definition& definition) {
  if (definition.readers.empty()) return false;
  for (const Reader& reader : definition.readers) {
    if (reader.node == nullptr || !IsQuantizer(*reader.node)) return false;
  }
  return true;
}

}  // namespace

OtherParameters CountOtherParameters(Model& model) {
  const std::vector<Weight> weights = FindWeights(model);
  ScopeIndex index(model);
  Marker marker(index);
  for (const Weight& weight : weights) {
    for (const WeightUse& use : weight.uses) {
      if (static_cast<size_t>(use.input) < use.node->inputs.size()) {
        Tracer tracer(index);
        const std::string& operand = use.node->inputs[static_cast<size_t>(use.input)];
        const Origin origin = tracer.Trace(use.graph, operand);
        if (origin.kind != Origin::Kind::kNone) marker.Mark(use.graph, operand);
      }
    }
  }
  OtherParameters others;
  for (const Definition& definition : index.definitions()) {
    const Tensor* tensor = ConstantTensor(definition);
    if (tensor == nullptr || !IsFloat(tensor->dtype) || tensor->dims.empty()) continue;
    if (marker.Marked(definition) || FeedsOnlyQuantizers(definition)) continue;
    others.parameters = SaturatingAdd(others.parameters, tensor->size());
    const auto values = DecodeElements(*tensor, 0, tensor->size());
    if (!values.ok()) continue;
    for (const float value : *values) others.nonzero += value != 0;
  }
  return others;
}

int64_t ConstantBytes(const Model& model) {
  int64_t bytes = 0;
  ForEachGraph(model, [&bytes](const Graph& graph) {
    for (const auto& [name, tensor] : graph.initializers) {
      bytes = SaturatingAdd(bytes, tensor.byte_size());
    }
    for (const auto& [name, sparse] : graph.sparse_initializers) {
      bytes = SaturatingAdd(bytes, static_cast<int64_t>(sparse.size()));
    }
    for (const auto& node : graph.nodes) {
      if (!node->Is("Constant")) continue;
      for (const Attribute& attribute : node->attributes) {
        for (const Tensor& tensor : attribute.tensors) {
          bytes = SaturatingAdd(bytes, tensor.byte_size());
        }
        bytes = SaturatingAdd(
            bytes, static_cast<int64_t>(attribute.floats.size() * 4 + attribute.ints.size() * 8));
      }
    }
  });
  return bytes;
}

}  // namespace lathe::engine
