// What running each layer of a model costs.
#ifndef LATHE_WORKER_ENGINE_EVALUATE_LAYER_COST_H_
#define LATHE_WORKER_ENGINE_EVALUATE_LAYER_COST_H_

#include <map>
#include <string>

#include "worker/engine/graph/model.h"
#include "worker/engine/ops/shape_inference.h"

namespace lathe::engine {

// Name of a weight (Weight of graph/layers.h) -> what the operators that multiply by it cost, once
// each: of LSTM.W and LSTM.R, either has the whole of their operator. `parts` tells which weights
// are parts of another (name -> the whole's name); their costs are added up under the whole's name.
// Without layers whose cost is not known.
std::map<std::string, OperatorCost> CostByLayer(Model& model, const Bindings& bindings,
                                                const std::map<std::string, std::string>& parts);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_EVALUATE_LAYER_COST_H_
