#include "worker/engine/graph/clone.h"

namespace lathe::engine {

Attribute CloneShell(const Attribute& attribute) {
  Attribute copy;
  copy.name = attribute.name;
  copy.kind = attribute.kind;
  copy.f = attribute.f;
  copy.i = attribute.i;
  copy.s = attribute.s;
  copy.floats = attribute.floats;
  copy.ints = attribute.ints;
  copy.strings = attribute.strings;
  copy.tensors = attribute.tensors;
  copy.extra = attribute.extra;
  return copy;
}

Attribute CloneAttribute(const Attribute& attribute, Graph* parent) {
  Attribute copy = CloneShell(attribute);
  for (const auto& graph : attribute.graphs) copy.graphs.push_back(CloneGraph(*graph, parent));
  return copy;
}

std::unique_ptr<Graph> CloneShell(const Graph& graph) {
  auto copy = std::make_unique<Graph>();
  copy->name = graph.name;
  copy->initializers = graph.initializers;
  copy->inputs = graph.inputs;
  copy->outputs = graph.outputs;
  copy->value_infos = graph.value_infos;
  copy->sparse_initializers = graph.sparse_initializers;
  copy->doc_string = graph.doc_string;
  copy->extra = graph.extra;
  return copy;
}

std::unique_ptr<Node> CloneShell(const Node& node) {
  auto copy = std::make_unique<Node>();
  copy->name = node.name;
  copy->op_type = node.op_type;
  copy->domain = node.domain;
  copy->inputs = node.inputs;
  copy->outputs = node.outputs;
  copy->doc_string = node.doc_string;
  copy->extra = node.extra;
  copy->provenance = node.provenance;
  return copy;
}

std::unique_ptr<Graph> CloneGraph(const Graph& graph, Graph* parent) {
  std::unique_ptr<Graph> copy = CloneShell(graph);
  copy->parent = parent;
  for (const auto& node : graph.nodes) {
    copy->nodes.push_back(CloneShell(*node));
    for (const Attribute& attribute : node->attributes) {
      copy->nodes.back()->attributes.push_back(CloneAttribute(attribute, copy.get()));
    }
  }
  return copy;
}

Model CloneModel(const Model& model) {
  Model copy;
  copy.ir_version = model.ir_version;
  copy.opset_imports = model.opset_imports;
  copy.graph = CloneGraph(*model.graph, nullptr);
  for (const Function& function : model.functions) {
    copy.functions.emplace_back();
    Function& target = copy.functions.back();
    target.domain = function.domain;
    target.name = function.name;
    target.overload = function.overload;
    target.body = CloneGraph(*function.body, nullptr);
    target.opset_imports = function.opset_imports;
    target.extra = function.extra;
  }
  copy.extra = model.extra;
  copy.source_files = model.source_files;
  return copy;
}

}  // namespace lathe::engine
