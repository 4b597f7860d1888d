#include "worker/engine/passes/graph_view.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "worker/engine/graph/edit.h"

namespace lathe::engine {
namespace {

// Every name that a graph and what lies in it mentions.
void CollectNames(const Graph& graph, std::unordered_set<std::string>& names) {
  for (const auto& node : graph.nodes) {
    names.insert(node->inputs.begin(), node->inputs.end());
    names.insert(node->outputs.begin(), node->outputs.end());
    for (const Attribute& attribute : node->attributes) {
      for (const auto& inner : attribute.graphs) CollectNames(*inner, names);
    }
  }
  for (const ValueInfo& input : graph.inputs) names.insert(input.name);
  for (const ValueInfo& output : graph.outputs) names.insert(output.name);
  for (const auto& [name, tensor] : graph.initializers) names.insert(name);
  for (const auto& [name, sparse] : graph.sparse_initializers) names.insert(name);
}

const Tensor* TensorOf(const Node& node) {
  if (!node.Is("Constant") || node.outputs.size() != 1) return nullptr;
  const Attribute* value = node.FindAttribute("value");
  return value != nullptr && value->tensors.size() == 1 ? &value->tensors[0] : nullptr;
}

// Whether `graph` says what `name` is, so that names of enclosing graphs are hidden.
bool Declares(const Graph& graph, const std::string& name) {
  return graph.IsInput(name) || graph.initializers.count(name) != 0 ||
         graph.sparse_initializers.count(name) != 0 ||
         std::any_of(graph.nodes.begin(), graph.nodes.end(), [&name](const auto& node) {
           return std::find(node->outputs.begin(), node->outputs.end(), name) !=
                  node->outputs.end();
         });
}

}  // namespace

GraphView::GraphView(Graph& graph) : graph_(graph) {
  for (const auto& node : graph.nodes) {
    Link(node.get());
    for (const Attribute& attribute : node->attributes) {
      for (const auto& inner : attribute.graphs) CollectNames(*inner, seen_elsewhere_);
    }
  }
  for (const ValueInfo& output : graph.outputs) seen_elsewhere_.insert(output.name);
  CollectNames(graph, names_);
  for (const Graph* outer = graph.parent; outer != nullptr; outer = outer->parent) {
    CollectNames(*outer, names_);
  }
}

void GraphView::Link(Node* node) {
  for (const std::string& output : node->outputs) {
    if (!output.empty()) producers_[output] = node;
  }
  for (const std::string& input : node->inputs) {
    if (!input.empty()) readers_[input].push_back(node);
  }
}

void GraphView::Unlink(Node* node) {
  for (const std::string& output : node->outputs) {
    const auto found = producers_.find(output);
    if (found != producers_.end() && found->second == node) producers_.erase(found);
  }
  for (const std::string& input : node->inputs) {
    std::vector<Node*>& readers = readers_[input];
    const auto found = std::find(readers.begin(), readers.end(), node);
    if (found != readers.end()) readers.erase(found);
  }
}

std::vector<Node*> GraphView::Nodes() const {
  std::vector<Node*> nodes;
  for (const auto& node : graph_.nodes) {
    if (dropped_.count(node.get()) == 0) nodes.push_back(node.get());
  }
  return nodes;
}

Node* GraphView::Producer(const std::string& value) const {
  const auto found = producers_.find(value);
  return found == producers_.end() ? nullptr : found->second;
}

const std::vector<Node*>& GraphView::Readers(const std::string& value) const {
  static const auto* const none = new std::vector<Node*>;
  const auto found = readers_.find(value);
  return found == readers_.end() ? *none : found->second;
}

bool GraphView::ReadOnly(const std::string& value, size_t count) const {
  return !value.empty() && seen_elsewhere_.count(value) == 0 && Readers(value).size() == count;
}

Node* GraphView::OnlyReader(const std::string& value) const {
  return ReadOnly(value, 1) ? Readers(value)[0] : nullptr;
}

const Tensor* GraphView::Constant(const std::string& value) const {
  if (value.empty()) return nullptr;
  if (const Node* node = Producer(value)) return TensorOf(*node);
  for (const Graph* graph = &graph_; graph != nullptr; graph = graph->parent) {
    // A body's input of that name is no constant; the main graph's takes it as its value.
    if (graph->parent != nullptr && graph->IsInput(value)) return nullptr;
    const auto found = graph->initializers.find(value);
    if (found != graph->initializers.end()) return &found->second;
    if (graph == &graph_) continue;
    for (const auto& node : graph->nodes) {
      if (node->outputs.size() == 1 && node->outputs[0] == value) return TensorOf(*node);
    }
    if (Declares(*graph, value)) return nullptr;
  }
  return nullptr;
}

std::optional<double> GraphView::Scalar(const std::string& value) const {
  const Tensor* tensor = Constant(value);
  if (tensor == nullptr || tensor->size() != 1) return std::nullopt;
  if (const auto reals = tensor->ToFloats(); reals.ok()) return reals->at(0);
  if (const auto ints = tensor->ToInt64s(); ints.ok()) return static_cast<double>(ints->at(0));
  return std::nullopt;
}

std::string GraphView::AddInitializer(const std::string& stem, Tensor tensor) {
  std::string name = stem;
  for (int i = 2; !names_.insert(name).second; ++i) name = absl::StrCat(stem, "_", i);
  tensor.name = name;
  graph_.initializers.insert_or_assign(name, std::move(tensor));
  return name;
}

void GraphView::Drop(Node* node) {
  Unlink(node);
  dropped_.insert(node);
}

void GraphView::SetInputs(Node* node, std::vector<std::string> inputs) {
  Unlink(node);
  node->inputs = std::move(inputs);
  Link(node);
}

void GraphView::Rename(Node* producer, size_t output, const std::string& to) {
  Unlink(producer);
  producer->outputs[output] = to;
  Link(producer);
}

void GraphView::Finish() {
  auto& nodes = graph_.nodes;
  nodes.erase(std::remove_if(nodes.begin(), nodes.end(),
                             [this](const auto& n) { return dropped_.count(n.get()) != 0; }),
              nodes.end());
  dropped_.clear();
  for (auto it = graph_.initializers.begin(); it != graph_.initializers.end();) {
    const bool needed = !Readers(it->first).empty() || seen_elsewhere_.count(it->first) != 0 ||
                        graph_.IsInput(it->first);
    it = needed ? std::next(it) : graph_.initializers.erase(it);
  }
}

bool HasForm(const Node& node, absl::string_view op, size_t inputs) {
  return node.Is(op) && node.inputs.size() == inputs && node.outputs.size() == 1 &&
         std::find(node.inputs.begin(), node.inputs.end(), "") == node.inputs.end();
}

std::vector<Graph*> RewrittenGraphs(Model& model) {
  std::vector<Graph*> graphs;
  auto visit = [&graphs](Graph& graph) { graphs.push_back(&graph); };
  internal::VisitGraph(*model.graph, visit);
  if (static_cast<int64_t>(graphs.size()) > kMaxRewrittenSubgraphs) graphs.resize(1);
  return graphs;
}

void ForEachView(Model& model, void (*pass)(GraphView& view)) {
  for (Graph* graph : RewrittenGraphs(model)) {
    GraphView view(*graph);
    pass(view);
    view.Finish();
  }
}

}  // namespace lathe::engine
