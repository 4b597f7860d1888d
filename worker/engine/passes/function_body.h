// Copies a function's body for one call of it.
#ifndef LATHE_WORKER_ENGINE_PASSES_FUNCTION_BODY_H_
#define LATHE_WORKER_ENGINE_PASSES_FUNCTION_BODY_H_

#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "worker/engine/graph/edit.h"
#include "worker/engine/graph/model.h"

namespace lathe::engine {

// Default values of a function's attributes (FunctionProto.attribute_proto), by name. Those the IR
// cannot model are left out.
std::map<std::string, Attribute> FunctionDefaults(const Function& function);

// Nodes of a graph and its subgraphs.
int64_t CountNodes(const Graph& graph);

class BodyCopier {
 public:
  // `hoisted` maps Constant nodes of bodies to initializers of the main graph that hold their
  // tensors: filled here, and shared by all copies; nullptr: Constants are copied.
  BodyCopier(Model& model, const Function& function, const Node& call, NameScope& names,
             std::unordered_map<const Node*, std::string>* hoisted);

  // Why this call cannot be expanded, or "".
  std::string Obstacle() const;
  // The nodes that take the call's place, for a call that lies in `parent`.
  std::vector<std::unique_ptr<Node>> Copy(Graph& parent);

 private:
  using Renames = std::unordered_map<std::string, std::string>;

  // The attribute that stands for `attribute` in this call; nullptr when it is left out.
  const Attribute* Resolve(const Attribute& attribute) const;
  std::unique_ptr<Node> CopyNode(const Node& node, Graph& parent, const Renames& renames);
  std::unique_ptr<Graph> CopyGraph(const Graph& graph, Graph& parent, Renames renames);
  std::string Fresh(const std::string& value);
  bool Hoist(const Node& node, Renames& renames);

  Model& model_;
  const Function& function_;
  const Node& call_;
  NameScope& names_;
  std::unordered_map<const Node*, std::string>* hoisted_;
  std::string prefix_;
  std::map<std::string, Attribute> defaults_;
};

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_PASSES_FUNCTION_BODY_H_
