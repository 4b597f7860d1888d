#include "worker/engine/graph/topology.h"

#include <algorithm>
#include <queue>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"

namespace lathe::engine {
namespace {

using ReadFn = std::function<void(absl::string_view)>;

// What a subgraph takes from outside: names read (or returned) and not produced in it.
void ForEachCapture(const Graph& graph, const ReadFn& fn) {
  absl::flat_hash_set<absl::string_view> local;
  for (const ValueInfo& input : graph.inputs) local.insert(input.name);
  for (const auto& [name, tensor] : graph.initializers) local.insert(name);
  for (const auto& [name, tensor] : graph.sparse_initializers) local.insert(name);
  for (const auto& node : graph.nodes) {
    for (const std::string& output : node->outputs) local.insert(output);
  }
  const ReadFn captured = [&](absl::string_view name) {
    if (!local.contains(name)) fn(name);
  };
  for (const auto& node : graph.nodes) ForEachRead(*node, captured);
  for (const ValueInfo& output : graph.outputs) captured(output.name);
}

// producers[name] = index of the node that makes it; the first one, if the graph is broken and has
// two.
absl::flat_hash_map<absl::string_view, int64_t> Producers(const Graph& graph) {
  absl::flat_hash_map<absl::string_view, int64_t> producers;
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    for (const std::string& output : graph.nodes[i]->outputs) {
      if (!output.empty()) producers.emplace(output, static_cast<int64_t>(i));
    }
  }
  return producers;
}

// Successors and numbers of predecessors, for Kahn's algorithm.
struct Edges {
  std::vector<std::vector<int64_t>> readers;
  std::vector<int64_t> waits_for;
  bool ordered = true;
};

Edges FindEdges(const Graph& graph) {
  const auto producers = Producers(graph);
  const auto count = static_cast<int64_t>(graph.nodes.size());
  Edges edges;
  edges.readers.resize(count);
  edges.waits_for.resize(count);
  for (int64_t i = 0; i < count; ++i) {
    ForEachRead(*graph.nodes[i], [&](absl::string_view name) {
      const auto it = producers.find(name);
      if (it == producers.end()) return;
      edges.readers[it->second].push_back(i);
      ++edges.waits_for[i];
      if (it->second >= i) edges.ordered = false;
    });
  }
  return edges;
}

}  // namespace

void ForEachRead(const Node& node, const ReadFn& fn) {
  for (const std::string& input : node.inputs) {
    if (!input.empty()) fn(input);
  }
  for (const Attribute& attribute : node.attributes) {
    for (const auto& graph : attribute.graphs) ForEachCapture(*graph, fn);
  }
}

bool SortNodes(Graph& graph) {
  bool moved = false;
  for (const auto& node : graph.nodes) {
    for (Attribute& attribute : node->attributes) {
      for (const auto& sub : attribute.graphs) moved |= SortNodes(*sub);
    }
  }
  Edges edges = FindEdges(graph);
  if (edges.ordered) return moved;

  // Of the nodes that are ready, always the one that stands first in the file.
  std::priority_queue<int64_t, std::vector<int64_t>, std::greater<>> ready;
  for (size_t i = 0; i < edges.waits_for.size(); ++i) {
    if (edges.waits_for[i] == 0) ready.push(static_cast<int64_t>(i));
  }
  std::vector<int64_t> order;
  order.reserve(graph.nodes.size());
  while (!ready.empty()) {
    const int64_t node = ready.top();
    ready.pop();
    order.push_back(node);
    for (const int64_t reader : edges.readers[node]) {
      if (--edges.waits_for[reader] == 0) ready.push(reader);
    }
  }
  if (order.size() != graph.nodes.size()) return moved;  // a cycle: the verifier tells
  std::vector<std::unique_ptr<Node>> sorted;
  sorted.reserve(order.size());
  for (const int64_t index : order) sorted.push_back(std::move(graph.nodes[index]));
  graph.nodes = std::move(sorted);
  return true;
}

std::vector<int64_t> FindCycle(const Graph& graph, int64_t start) {
  // Depth first from `start` along "read by", looking for a way back to it.
  const Edges edges = FindEdges(graph);
  std::vector<int64_t> came_from(graph.nodes.size(), -1);
  std::vector<int64_t> stack = {start};
  while (!stack.empty()) {
    const int64_t node = stack.back();
    stack.pop_back();
    for (const int64_t reader : edges.readers[node]) {
      if (reader == start) {
        std::vector<int64_t> cycle = {node};
        while (cycle.back() != start) cycle.push_back(came_from[cycle.back()]);
        std::reverse(cycle.begin(), cycle.end());
        return cycle;
      }
      if (came_from[reader] < 0) {
        came_from[reader] = node;
        stack.push_back(reader);
      }
    }
  }
  return {};
}

}  // namespace lathe::engine
