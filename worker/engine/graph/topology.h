// Order of a graph's nodes.
#ifndef LATHE_WORKER_ENGINE_GRAPH_TOPOLOGY_H_
#define LATHE_WORKER_ENGINE_GRAPH_TOPOLOGY_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/strings/string_view.h"
#include "worker/engine/graph/model.h"

namespace lathe::engine {

// Calls fn(name) for every value a node reads: its inputs, and what its subgraphs capture (names
// they do not produce themselves). A name may come more than once.
void ForEachRead(const Node& node, const std::function<void(absl::string_view)>& fn);

// Moves nodes that stand before the producers of their inputs behind them (runtimes accept such
// files, the IR does not); nodes in order keep their order. Does nothing when there is a cycle.
// Subgraphs too. True when something moved.
bool SortNodes(Graph& graph);

// Indices of the nodes of one cycle of `graph` through the node `start`, beginning there; empty
// when it is on none.
std::vector<int64_t> FindCycle(const Graph& graph, int64_t start);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_GRAPH_TOPOLOGY_H_
