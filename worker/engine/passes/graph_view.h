// A graph as a rewriting pass sees it: who produces and who reads each value, kept current while
// nodes are fused.
//
// A pass turns the last node of a pattern into the fused one (its place in the order is right, its
// outputs keep their names) and drops the others.
#ifndef LATHE_WORKER_ENGINE_PASSES_GRAPH_VIEW_H_
#define LATHE_WORKER_ENGINE_PASSES_GRAPH_VIEW_H_

#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "worker/engine/graph/model.h"

namespace lathe::engine {

// Whether `node` is this operator of ai.onnx with so many inputs, none of them left out, and one
// output. The verifier does not count them.
bool HasForm(const Node& node, absl::string_view op, size_t inputs);

class GraphView {
 public:
  // `graph` must outlive the view; only the view may change its nodes meanwhile.
  explicit GraphView(Graph& graph);

  Graph& graph() const { return graph_; }
  // The nodes that are left, in order.
  std::vector<Node*> Nodes() const;

  // The node of this graph that produces `value` (Constants included); nullptr for others.
  Node* Producer(const std::string& value) const;
  // Nodes of this graph that read `value`, one entry a reading input.
  const std::vector<Node*>& Readers(const std::string& value) const;
  // Whether `count` inputs of this graph's nodes are all that reads `value`: it is no output of the
  // graph and no subgraph sees it.
  bool ReadOnly(const std::string& value, size_t count) const;
  // The one reader of `value`; nullptr when there are more or others.
  Node* OnlyReader(const std::string& value) const;

  // The constant that `value` is, in this graph or an enclosing one; nullptr for others.
  const Tensor* Constant(const std::string& value) const;
  // Its one element, of any float or integer type.
  std::optional<double> Scalar(const std::string& value) const;

  // Adds an initializer with a fresh name that starts with `stem`; returns its name.
  std::string AddInitializer(const std::string& stem, Tensor tensor);
  // Drops a node whose outputs nobody needs any more.
  void Drop(Node* node);
  // Gives `node` these inputs.
  void SetInputs(Node* node, std::vector<std::string> inputs);
  // Lets the node that produces `from` produce `to` instead, whose producer was dropped.
  void Rename(Node* producer, size_t output, const std::string& to);

  // Takes dropped nodes, and initializers that nothing reads any more, out of the graph.
  void Finish();

 private:
  void Link(Node* node);
  void Unlink(Node* node);

  Graph& graph_;
  std::unordered_map<std::string, Node*> producers_;
  std::unordered_map<std::string, std::vector<Node*>> readers_;
  std::unordered_set<std::string> seen_elsewhere_;  // by subgraphs or as outputs
  std::unordered_set<const Node*> dropped_;
  std::unordered_set<std::string> names_;
};

// Past this many subgraphs the main graph alone is rewritten: a view costs its enclosing graphs'
// size too.
inline constexpr int64_t kMaxRewrittenSubgraphs = 64;

// The main graph and its subgraphs, from the outside in.
std::vector<Graph*> RewrittenGraphs(Model& model);

// Runs `pass` on the main graph and its subgraphs. Bodies of functions stay as they are: their
// attributes may be known at a call alone.
void ForEachView(Model& model, void (*pass)(GraphView& view));

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_PASSES_GRAPH_VIEW_H_
