#include "worker/engine/evaluate/layer_cost.h"

#include <set>
#include <utility>

#include "worker/engine/graph/layers.h"

namespace lathe::engine {

std::map<std::string, OperatorCost> CostByLayer(Model& model, const Bindings& bindings,
                                                const std::map<std::string, std::string>& parts) {
  const Inference inference = InferShapes(model, bindings);
  std::map<std::string, OperatorCost> costs;
  std::set<std::pair<std::string, const Node*>> seen;
  for (const Weight& weight : FindWeights(model)) {
    const auto whole = parts.find(weight.name);
    const std::string& layer = whole == parts.end() ? weight.name : whole->second;
    for (const WeightUse& use : weight.uses) {
      const auto cost = inference.node_costs.find(use.node);
      if (cost == inference.node_costs.end() || !seen.emplace(layer, use.node).second) continue;
      costs[layer].Add(cost->second, 1);
    }
  }
  return costs;
}

}  // namespace lathe::engine
