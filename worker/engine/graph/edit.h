// Editing primitives: what methods and passes change a graph with.
#ifndef LATHE_WORKER_ENGINE_GRAPH_EDIT_H_
#define LATHE_WORKER_ENGINE_GRAPH_EDIT_H_

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "absl/status/status.h"
#include "worker/engine/graph/layers.h"
#include "worker/engine/graph/model.h"

namespace lathe::engine {

// Hands out names that are unused anywhere in the model (values and nodes, all graphs and
// functions).
class NameScope {
 public:
  explicit NameScope(const Model& model);
  // `stem` itself when free, otherwise stem_2, stem_3, ...; taken from then on.
  std::string Fresh(const std::string& stem);

 private:
  std::unordered_set<std::string> taken_;
  std::unordered_map<std::string, int64_t> next_;  // the next suffix to try for a stem
};

// Puts `nodes` (in order) before every other node of the graph. They must depend only on
// initializers, on each other, or on outer scopes.
void PrependNodes(Graph& graph, std::vector<std::unique_ptr<Node>> nodes);

// Puts `nodes` right before / after `anchor`, which is in the graph.
void InsertBefore(Graph& graph, const Node* anchor, std::vector<std::unique_ptr<Node>> nodes);
void InsertAfter(Graph& graph, const Node* anchor, std::vector<std::unique_ptr<Node>> nodes);

// Removes `node`; its outputs must have no readers left (checked in debug builds).
void RemoveNode(Graph& graph, const Node* node);

// Adds a constant to a graph: as an initializer, or as a Constant node at the front of a function
// body (functions have none). tensor.name is the value's name. Before IR 4 the main graph's
// initializers are also listed as its inputs: so is this one.
void AddConstant(Model& model, Graph& graph, Tensor tensor);
bool IsFunctionBody(const Model& model, const Graph& graph);

// Sets ir_version to at least `version`. From IR 4 on an initializer that is also a graph input may
// be overridden by the caller, so runtimes no longer treat it as a constant; a model lifted from
// below loses these inputs, and keeps its meaning.
void RaiseIrVersion(Model& model, int64_t version);

// Removes the weight's source so that another producer of the same value name may be added: the
// initializer, its IR 3 graph input and value_info, or the Constant node.
void RemoveSource(const Weight& weight);

// Removes constants, and chains of Identity/Cast/Transpose over constants, that nothing reads any
// more (not graph outputs). Returns how many bytes of constants went.
int64_t RemoveUnusedConstants(Model& model);

// Number of readers of a value of `graph`, in it and in subgraphs that capture it, graph outputs
// included.
int CountReaders(const Graph& graph, const std::string& value);

// Calls fn(graph) for every graph: main, subgraphs (pre-order), function bodies.
template <typename Fn>
void ForEachGraph(Model& model, Fn&& fn);
template <typename Fn>
void ForEachGraph(const Model& model, Fn&& fn);

namespace internal {
template <typename GraphT, typename Fn>
void VisitGraph(GraphT& graph, Fn& fn) {
  fn(graph);
  for (auto& node : graph.nodes) {
    for (auto& attribute : node->attributes) {
      for (auto& sub : attribute.graphs) VisitGraph(static_cast<GraphT&>(*sub), fn);
    }
  }
}
}  // namespace internal

template <typename Fn>
void ForEachGraph(Model& model, Fn&& fn) {
  internal::VisitGraph(*model.graph, fn);
  for (Function& function : model.functions) internal::VisitGraph(*function.body, fn);
}
template <typename Fn>
void ForEachGraph(const Model& model, Fn&& fn) {
  internal::VisitGraph(static_cast<const Graph&>(*model.graph), fn);
  for (const Function& function : model.functions)
    internal::VisitGraph(static_cast<const Graph&>(*function.body), fn);
}

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_GRAPH_EDIT_H_
