// Copies of the IR's parts. Tensors share their bytes, so a copy of a model costs its skeleton.
#ifndef LATHE_WORKER_ENGINE_GRAPH_CLONE_H_
#define LATHE_WORKER_ENGINE_GRAPH_CLONE_H_

#include <memory>

#include "worker/engine/graph/model.h"

namespace lathe::engine {

// Shells leave out what lies within: an attribute's graphs, a node's attributes, a graph's nodes
// and parent.
Attribute CloneShell(const Attribute& attribute);
std::unique_ptr<Node> CloneShell(const Node& node);
std::unique_ptr<Graph> CloneShell(const Graph& graph);

// Whole copies; `parent` becomes the parent of the attribute's graphs, or of the graph.
Attribute CloneAttribute(const Attribute& attribute, Graph* parent);
std::unique_ptr<Graph> CloneGraph(const Graph& graph, Graph* parent);
Model CloneModel(const Model& model);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_GRAPH_CLONE_H_
