#include "worker/engine/evaluate/count_cost.h"

#include <set>

#include "worker/engine/evaluate/model_size.h"
#include "worker/engine/graph/edit.h"

namespace lathe::engine {

Cost CountCost(const Model& model, const std::map<std::string, int64_t>& bindings) {
  static const std::set<std::string>* kWithMacs =
      new std::set<std::string>{"Conv", "ConvTranspose", "Gemm", "MatMul", "LSTM", "GRU", "RNN"};
  Cost cost;
  cost.bindings = bindings;
  ForEachGraph(model, [&](const Graph& graph) {
    for (const auto& node : graph.nodes) {
      if (kWithMacs->count(node->op_type) != 0) cost.incomplete.push_back(node->name);
    }
  });
  cost.energy_pj = static_cast<double>(CountConstants(model).weight_bytes) / 8 * 1300;
  return cost;
}

}  // namespace lathe::engine
