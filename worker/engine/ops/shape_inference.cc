#include "worker/engine/ops/shape_inference.h"

#include "worker/engine/ops/graph_walker.h"

namespace lathe::engine {

const ValueFact* Inference::Find(const Graph* graph, const std::string& value) const {
  for (; graph != nullptr; graph = graph->parent) {
    const auto scope = values.find(graph);
    if (scope == values.end()) continue;
    const auto found = scope->second.find(value);
    if (found != scope->second.end()) return &found->second;
  }
  return nullptr;
}

Inference InferShapes(const Model& model, const Bindings& bindings) {
  return GraphWalker(model, bindings).Run();
}

}  // namespace lathe::engine
