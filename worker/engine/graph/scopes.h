// Who produces and who reads every value of a model, with ONNX's scope rules: names are resolved
// from the inside out.
#ifndef LATHE_WORKER_ENGINE_GRAPH_SCOPES_H_
#define LATHE_WORKER_ENGINE_GRAPH_SCOPES_H_

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "absl/strings/string_view.h"
#include "worker/engine/graph/model.h"

namespace lathe::engine {

// One reader of a value.
struct Reader {
  Graph* graph = nullptr;
  Node* node = nullptr;  // nullptr: `graph` has the value among its outputs
  int input = 0;         // index among node->inputs, or among graph->outputs
};

// What produces a value.
struct Definition {
  enum class Kind {
    kInitializer,  // of the main graph or a subgraph; also one that is the default of a main graph
                   // input
    kSparse,       // a sparse initializer
    kNode,         // output `output` of `node`
    kFormal,       // a graph input (main graph, Loop/Scan body) or a parameter of a function, not
                   // constant
  };
  Kind kind = Kind::kFormal;
  Graph* graph = nullptr;
  std::string name;
  Node* node = nullptr;
  int output = 0;
  std::vector<Reader> readers;  // in model order
};

// A picture of the model at the time it is made; edits make it stale. Linear in the model to build.
class ScopeIndex {
 public:
  explicit ScopeIndex(const Model& model);
  // One graph and what lies in it; the names of enclosing graphs are not resolved.
  explicit ScopeIndex(Graph& graph);
  ScopeIndex(const ScopeIndex&) = delete;
  ScopeIndex& operator=(const ScopeIndex&) = delete;

  // The definition that `name`, read by a node of `graph`, refers to; nullptr when nobody produces
  // it. Among the values of one graph every name counts, wherever its node stands (topological
  // order is the verifier's business).
  Definition* Resolve(const Graph* graph, const std::string& name) const;

  // Every node with its graph, in model order: a node before the nodes of its subgraphs; main
  // graph, then functions.
  struct Place {
    Graph* graph = nullptr;
    Node* node = nullptr;
  };
  const std::vector<Place>& nodes() const { return nodes_; }
  std::deque<Definition>& definitions() { return definitions_; }

 private:
  using Names = std::unordered_map<std::string, Definition*>;
  struct Scope {
    const Graph* parent = nullptr;
    Names names;
  };

  void Declare(Graph& graph, const Graph* parent);
  void Define(Graph& graph, Scope& scope, Definition::Kind kind, const std::string& name,
              Node* node, int output);
  void LinkReaders(Graph& graph);

  std::deque<Definition> definitions_;
  std::unordered_map<const Graph*, Scope> scopes_;
  std::vector<Place> nodes_;
};

// "Conv 'conv1'", "unnamed Conv (its output is 'x')": how messages speak of a node.
std::string DescribeNode(const Node& node);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_GRAPH_SCOPES_H_
