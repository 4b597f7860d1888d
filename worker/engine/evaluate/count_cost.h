// Counts what a forward pass costs.
#ifndef LATHE_WORKER_ENGINE_EVALUATE_COUNT_COST_H_
#define LATHE_WORKER_ENGINE_EVALUATE_COUNT_COST_H_

#include <cstdint>
#include <map>
#include <string>

#include "worker/engine/evaluate/cost.h"
#include "worker/engine/graph/model.h"

namespace lathe::engine {

// Never an error: what cannot be counted is named in Cost::incomplete.
Cost CountCost(const Model& model, const std::map<std::string, int64_t>& bindings);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_EVALUATE_COUNT_COST_H_
