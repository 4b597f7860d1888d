// Builds small models in the engine's IR.
#ifndef LATHE_TESTS_SUPPORT_GRAPH_BUILDER_H_
#define LATHE_TESTS_SUPPORT_GRAPH_BUILDER_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "worker/engine/graph/model.h"

namespace lathe::engine::testing {

inline Model NewModel(int64_t opset = 17, int64_t ir_version = 8) {
  Model model;
  model.ir_version = ir_version;
  model.opset_imports[""] = opset;
  model.graph = std::make_unique<Graph>();
  model.graph->name = "main";
  return model;
}

// 0.5, -0.25, 0.125 and the like, different from element to element.
inline std::vector<float> Values(int64_t count) {
  std::vector<float> values(count);
  for (int64_t i = 0; i < count; ++i) values[i] = static_cast<float>((i * 37 + 11) % 64 - 32) / 64;
  return values;
}

inline int64_t Elements(const Shape& dims) {
  int64_t count = 1;
  for (const int64_t extent : dims) count *= extent;
  return count;
}

inline Tensor Floats(const std::string& name, const Shape& dims) {
  return Tensor::FromFloats(name, dims, Values(Elements(dims)));
}

// Zeros of any type.
inline Tensor Zeros(const std::string& name, DType dtype, const Shape& dims) {
  const int64_t bytes = DTypeBytes(dtype, Elements(dims)).value_or(0);
  return Tensor::Make(name, dtype, dims, std::string(bytes, '\0')).value();
}

inline void AddInitializer(Graph& graph, Tensor tensor) {
  std::string name = tensor.name;
  graph.initializers.insert_or_assign(std::move(name), std::move(tensor));
}

inline void AddWeight(Graph& graph, const std::string& name, const Shape& dims) {
  AddInitializer(graph, Floats(name, dims));
}

inline ValueInfo Info(const std::string& name, DType dtype = DType::kFloat) {
  ValueInfo info;
  info.name = name;
  info.dtype = dtype;
  return info;
}

inline void AddInput(Graph& graph, const std::string& name, DType dtype = DType::kFloat) {
  graph.inputs.push_back(Info(name, dtype));
}

inline void AddOutput(Graph& graph, const std::string& name, DType dtype = DType::kFloat) {
  graph.outputs.push_back(Info(name, dtype));
}

inline Node& AddNode(Graph& graph, const std::string& op, std::vector<std::string> inputs,
                     std::vector<std::string> outputs, const std::string& name = "",
                     const std::string& domain = "") {
  auto node = std::make_unique<Node>();
  node->op_type = op;
  node->inputs = std::move(inputs);
  node->outputs = std::move(outputs);
  node->name = name;
  node->domain = domain;
  graph.nodes.push_back(std::move(node));
  return *graph.nodes.back();
}

inline void SetTensor(Node& node, const std::string& attribute, Tensor tensor) {
  Attribute value;
  value.name = attribute;
  value.kind = Attribute::Kind::kTensor;
  value.tensors.push_back(std::move(tensor));
  node.attributes.push_back(std::move(value));
}

// A Constant node that produces `tensor.name`.
inline Node& AddConstantNode(Graph& graph, Tensor tensor, const std::string& name = "") {
  Node& node = AddNode(graph, "Constant", {}, {tensor.name}, name);
  SetTensor(node, "value", std::move(tensor));
  return node;
}

inline Graph& AddSubgraph(Graph& parent, Node& node, const std::string& attribute) {
  Attribute value;
  value.name = attribute;
  value.kind = Attribute::Kind::kGraph;
  value.graphs.push_back(std::make_unique<Graph>());
  Graph& graph = *value.graphs.back();
  graph.name = attribute;
  graph.parent = &parent;
  node.attributes.push_back(std::move(value));
  return graph;
}

inline Function& AddFunction(Model& model, const std::string& name,
                             const std::vector<std::string>& inputs,
                             const std::vector<std::string>& outputs,
                             const std::string& domain = "local") {
  Function function;
  function.domain = domain;
  function.name = name;
  function.body = std::make_unique<Graph>();
  function.opset_imports[""] = model.opset_imports.at("");
  for (const std::string& input : inputs)
    function.body->inputs.push_back(Info(input, DType::kUndefined));
  for (const std::string& output : outputs) {
    function.body->outputs.push_back(Info(output, DType::kUndefined));
  }
  model.opset_imports[domain] = 1;
  model.functions.push_back(std::move(function));
  return model.functions.back();
}

// The node of that name, anywhere in the graph and its subgraphs; nullptr when there is none.
inline Node* FindNode(Graph& graph, const std::string& name) {
  for (auto& node : graph.nodes) {
    if (node->name == name) return node.get();
    for (Attribute& attribute : node->attributes) {
      for (auto& sub : attribute.graphs) {
        if (Node* found = FindNode(*sub, name)) return found;
      }
    }
  }
  return nullptr;
}

inline std::vector<std::string> OpTypes(const Graph& graph) {
  std::vector<std::string> ops;
  for (const auto& node : graph.nodes) ops.push_back(node->op_type);
  return ops;
}

}  // namespace lathe::engine::testing

#endif  // LATHE_TESTS_SUPPORT_GRAPH_BUILDER_H_
