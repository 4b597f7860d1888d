#include "worker/engine/graph/scopes.h"

#include "absl/strings/str_cat.h"

namespace lathe::engine {

ScopeIndex::ScopeIndex(const Model& model) {
  Declare(*model.graph, nullptr);
  for (const Function& function : model.functions) Declare(*function.body, nullptr);
  LinkReaders(*model.graph);
  for (const Function& function : model.functions) LinkReaders(*function.body);
}

ScopeIndex::ScopeIndex(Graph& graph) {
  Declare(graph, nullptr);
  LinkReaders(graph);
}

void ScopeIndex::Define(Graph& graph, Scope& scope, Definition::Kind kind, const std::string& name,
                        Node* node, int output) {
  if (name.empty()) return;
  const auto [slot, fresh] = scope.names.try_emplace(name, nullptr);
  if (!fresh) return;  // the first producer wins; the verifier refuses the model
  Definition definition;
  definition.kind = kind;
  definition.graph = &graph;
  definition.name = name;
  definition.node = node;
  definition.output = output;
  definitions_.push_back(std::move(definition));
  slot->second = &definitions_.back();
}

void ScopeIndex::Declare(Graph& graph, const Graph* parent) {
  Scope& scope = scopes_[&graph];  // references into an unordered_map stay valid
  scope.parent = parent;
  // A Loop or Scan binds its body's inputs on every turn, so an initializer of the same name is no
  // constant there; the main graph's inputs take it as their default value.
  if (parent != nullptr) {
    for (const ValueInfo& input : graph.inputs) {
      Define(graph, scope, Definition::Kind::kFormal, input.name, nullptr, 0);
    }
  }
  for (const auto& [name, tensor] : graph.initializers) {
    Define(graph, scope, Definition::Kind::kInitializer, name, nullptr, 0);
  }
  for (const auto& [name, sparse] : graph.sparse_initializers) {
    Define(graph, scope, Definition::Kind::kSparse, name, nullptr, 0);
  }
  for (const ValueInfo& input : graph.inputs) {
    Define(graph, scope, Definition::Kind::kFormal, input.name, nullptr, 0);
  }
  for (const auto& node : graph.nodes) {
    nodes_.push_back({&graph, node.get()});
    for (size_t i = 0; i < node->outputs.size(); ++i) {
      Define(graph, scope, Definition::Kind::kNode, node->outputs[i], node.get(),
             static_cast<int>(i));
    }
    for (const Attribute& attribute : node->attributes) {
      for (const auto& sub : attribute.graphs) Declare(*sub, &graph);
    }
  }
}

void ScopeIndex::LinkReaders(Graph& graph) {
  const auto link = [this, &graph](const std::string& name, Node* node, size_t index) {
    if (Definition* definition = Resolve(&graph, name)) {
      definition->readers.push_back({&graph, node, static_cast<int>(index)});
    }
  };
  for (const auto& node : graph.nodes) {
    for (size_t i = 0; i < node->inputs.size(); ++i) link(node->inputs[i], node.get(), i);
    for (const Attribute& attribute : node->attributes) {
      for (const auto& sub : attribute.graphs) LinkReaders(*sub);
    }
  }
  for (size_t i = 0; i < graph.outputs.size(); ++i) link(graph.outputs[i].name, nullptr, i);
}

Definition* ScopeIndex::Resolve(const Graph* graph, const std::string& name) const {
  if (name.empty()) return nullptr;
  while (graph != nullptr) {
    const auto scope = scopes_.find(graph);
    if (scope == scopes_.end()) return nullptr;
    const auto found = scope->second.names.find(name);
    if (found != scope->second.names.end()) return found->second;
    graph = scope->second.parent;
  }
  return nullptr;
}

std::string DescribeNode(const Node& node) {
  const std::string op =
      node.domain.empty() ? node.op_type : absl::StrCat(node.domain, ".", node.op_type);
  if (!node.name.empty()) return absl::StrCat(op, " '", node.name, "'");
  for (const std::string& output : node.outputs) {
    if (!output.empty()) return absl::StrCat("unnamed ", op, " (its output is '", output, "')");
  }
  return absl::StrCat("unnamed ", op);
}

}  // namespace lathe::engine
