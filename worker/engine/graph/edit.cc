#include "worker/engine/graph/edit.h"

#include <algorithm>
#include <cassert>
#include <iterator>
#include <unordered_map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "worker/engine/graph/scopes.h"
#include "worker/engine/graph/scratch.h"

namespace lathe::engine {
namespace {

using Nodes = std::vector<std::unique_ptr<Node>>;

Nodes::iterator Locate(Graph& graph, const Node* node) {
  const auto found =
      std::find_if(graph.nodes.begin(), graph.nodes.end(),
                   [node](const std::unique_ptr<Node>& n) { return n.get() == node; });
  assert(found != graph.nodes.end() && "the node is not in this graph");
  return found;
}

void InsertAt(Graph& graph, Nodes::iterator where, Nodes nodes) {
  graph.nodes.insert(where, std::make_move_iterator(nodes.begin()),
                     std::make_move_iterator(nodes.end()));
}

void EraseInput(Graph& graph, const std::string& name) {
  graph.inputs.erase(std::remove_if(graph.inputs.begin(), graph.inputs.end(),
                                    [&name](const ValueInfo& info) { return info.name == name; }),
                     graph.inputs.end());
}

// Forgets an initializer and all that speaks of it.
void EraseInitializer(Graph& graph, const std::string& name) {
  graph.initializers.erase(name);
  graph.sparse_initializers.erase(name);
  graph.value_infos.erase(name);
  EraseInput(graph, name);
}

bool IsProduced(const Graph& graph, const std::string& value) {
  if (graph.initializers.contains(value) || graph.sparse_initializers.contains(value)) return true;
  return std::any_of(graph.nodes.begin(), graph.nodes.end(), [&value](const auto& node) {
    return std::find(node->outputs.begin(), node->outputs.end(), value) != node->outputs.end();
  });
}

// Whether nodes of this kind only pass a constant on.
bool PassesConstantOn(const Node& node) {
  return node.Is("Identity") || node.Is("Cast") || node.Is("Transpose");
}

int64_t ConstantBytes(const Node& node) {
  int64_t bytes = 0;
  for (const Attribute& attribute : node.attributes) {
    for (const Tensor& tensor : attribute.tensors) bytes += tensor.byte_size();
    bytes += static_cast<int64_t>(attribute.floats.size() * sizeof(float) +
                                  attribute.ints.size() * sizeof(int64_t));
  }
  return bytes;
}

}  // namespace

NameScope::NameScope(const Model& model) {
  ForEachGraph(model, [this](const Graph& graph) {
    for (const ValueInfo& input : graph.inputs) taken_.insert(input.name);
    for (const ValueInfo& output : graph.outputs) taken_.insert(output.name);
    for (const auto& [name, tensor] : graph.initializers) taken_.insert(name);
    for (const auto& [name, sparse] : graph.sparse_initializers) taken_.insert(name);
    for (const auto& [name, info] : graph.value_infos) taken_.insert(name);
    for (const auto& node : graph.nodes) {
      taken_.insert(node->name);
      // Inputs too: a name that is read but produced nowhere must not start to exist.
      taken_.insert(node->inputs.begin(), node->inputs.end());
      taken_.insert(node->outputs.begin(), node->outputs.end());
    }
  });
}

std::string NameScope::Fresh(const std::string& stem) {
  std::string candidate = stem.empty() ? "value" : stem;
  const std::string base = candidate;
  int64_t& next = next_[base];
  if (next == 0) next = 2;
  while (!taken_.insert(candidate).second) candidate = absl::StrCat(base, "_", next++);
  return candidate;
}

void PrependNodes(Graph& graph, std::vector<std::unique_ptr<Node>> nodes) {
  InsertAt(graph, graph.nodes.begin(), std::move(nodes));
}

void InsertBefore(Graph& graph, const Node* anchor, std::vector<std::unique_ptr<Node>> nodes) {
  InsertAt(graph, Locate(graph, anchor), std::move(nodes));
}

void InsertAfter(Graph& graph, const Node* anchor, std::vector<std::unique_ptr<Node>> nodes) {
  InsertAt(graph, std::next(Locate(graph, anchor)), std::move(nodes));
}

void RemoveNode(Graph& graph, const Node* node) {
  const auto found = Locate(graph, node);
  if (found == graph.nodes.end()) return;
  std::unique_ptr<Node> removed = std::move(*found);
  graph.nodes.erase(found);
  for (const std::string& output : removed->outputs) {
    // Its replacement may have been inserted first.
    if (output.empty() || IsProduced(graph, output)) continue;
    graph.value_infos.erase(output);
    assert(CountReaders(graph, output) == 0 && "a removed node's output still has readers");
  }
}

bool IsFunctionBody(const Model& model, const Graph& graph) {
  return std::any_of(model.functions.begin(), model.functions.end(),
                     [&graph](const Function& f) { return f.body.get() == &graph; });
}

void AddConstant(Model& model, Graph& graph, Tensor tensor) {
  if (model.scratch != nullptr) tensor.data = model.scratch->Keep(std::move(tensor.data));
  if (!IsFunctionBody(model, graph)) {
    // Before IR 4 every initializer of the main graph must also be an input.
    if (model.ir_version < 4 && &graph == model.graph.get() && !graph.IsInput(tensor.name)) {
      ValueInfo input;
      input.name = tensor.name;
      input.dtype = tensor.dtype;
      input.dims.emplace();
      for (const int64_t extent : tensor.dims) input.dims->push_back({extent, ""});
      graph.inputs.push_back(std::move(input));
    }
    std::string name = tensor.name;
    graph.initializers.insert_or_assign(std::move(name), std::move(tensor));
    return;
  }
  auto constant = std::make_unique<Node>();
  constant->op_type = "Constant";
  constant->outputs = {tensor.name};
  Attribute value;
  value.name = "value";
  value.kind = Attribute::Kind::kTensor;
  value.tensors.push_back(std::move(tensor));
  constant->attributes.push_back(std::move(value));
  std::vector<std::unique_ptr<Node>> nodes;
  nodes.push_back(std::move(constant));
  PrependNodes(graph, std::move(nodes));
}

void RaiseIrVersion(Model& model, int64_t version) {
  if (model.ir_version >= version) return;
  if (model.ir_version < 4 && version >= 4) {
    Graph& graph = *model.graph;
    graph.inputs.erase(std::remove_if(graph.inputs.begin(), graph.inputs.end(),
                                      [&graph](const ValueInfo& info) {
                                        return graph.initializers.contains(info.name) ||
                                               graph.sparse_initializers.contains(info.name);
                                      }),
                       graph.inputs.end());
  }
  model.ir_version = version;
}

void RemoveSource(const Weight& weight) {
  Graph& graph = *weight.source.graph;
  if (weight.source.kind == WeightSource::Kind::kInitializer) {
    EraseInitializer(graph, weight.source.value);
    return;
  }
  graph.value_infos.erase(weight.source.value);
  const auto found = Locate(graph, weight.source.constant);
  if (found != graph.nodes.end()) graph.nodes.erase(found);
}

int64_t RemoveUnusedConstants(Model& model) {
  ScopeIndex index(model);
  int64_t freed = 0;
  std::unordered_map<const Definition*, size_t> readers;
  std::vector<Definition*> unread;
  for (Definition& definition : index.definitions()) {
    readers[&definition] = definition.readers.size();
    if (definition.readers.empty()) unread.push_back(&definition);
  }
  // Nodes to go, by graph, so that each graph is compacted once.
  std::unordered_map<Graph*, std::unordered_set<const Node*>> dead;
  // Whether the value comes from a constant through Identity, Cast and Transpose alone.
  const auto constant = [&index](Definition* definition) {
    for (int64_t steps = 0; definition != nullptr; ++steps) {
      if (definition->kind == Definition::Kind::kInitializer) return true;
      if (definition->kind != Definition::Kind::kNode) return false;
      if (definition->node->Is("Constant")) return true;
      if (!PassesConstantOn(*definition->node) || definition->node->inputs.empty()) return false;
      if (steps > static_cast<int64_t>(index.nodes().size())) return false;  // a cycle
      definition = index.Resolve(definition->graph, definition->node->inputs[0]);
    }
    return false;
  };
  while (!unread.empty()) {
    Definition* definition = unread.back();
    unread.pop_back();
    Graph& graph = *definition->graph;
    if (definition->kind == Definition::Kind::kInitializer) {
      freed += graph.initializers.at(definition->name).byte_size();
      EraseInitializer(graph, definition->name);
      continue;
    }
    if (definition->kind != Definition::Kind::kNode || !constant(definition)) continue;
    const Node& node = *definition->node;
    graph.value_infos.erase(definition->name);
    dead[&graph].insert(&node);
    if (node.Is("Constant")) freed += ConstantBytes(node);
    for (const std::string& input : node.inputs) {
      Definition* source = index.Resolve(&graph, input);
      if (source != nullptr && --readers[source] == 0) unread.push_back(source);
    }
  }
  for (auto& [graph, nodes] : dead) {
    graph->nodes.erase(std::remove_if(graph->nodes.begin(), graph->nodes.end(),
                                      [&dead_nodes = nodes](const std::unique_ptr<Node>& node) {
                                        return dead_nodes.contains(node.get());
                                      }),
                       graph->nodes.end());
  }
  return freed;
}

int CountReaders(const Graph& graph, const std::string& value) {
  int count = 0;
  for (const auto& node : graph.nodes) {
    count += static_cast<int>(std::count(node->inputs.begin(), node->inputs.end(), value));
    for (const Attribute& attribute : node->attributes) {
      for (const auto& sub : attribute.graphs) {
        // A subgraph that has a value of that name of its own does not read ours.
        bool shadowed = sub->IsInput(value) || sub->initializers.contains(value) ||
                        sub->sparse_initializers.contains(value);
        for (const auto& inner : sub->nodes) {
          shadowed = shadowed || std::find(inner->outputs.begin(), inner->outputs.end(), value) !=
                                     inner->outputs.end();
        }
        if (!shadowed) count += CountReaders(*sub, value);
      }
    }
  }
  return count + static_cast<int>(std::count_if(
                     graph.outputs.begin(), graph.outputs.end(),
                     [&value](const ValueInfo& output) { return output.name == value; }));
}

}  // namespace lathe::engine
