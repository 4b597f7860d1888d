// How far each layer's weights are from what they were, measured on the file that was written.
#ifndef LATHE_WORKER_ENGINE_EVALUATE_WEIGHT_ERROR_H_
#define LATHE_WORKER_ENGINE_EVALUATE_WEIGHT_ERROR_H_

#include <map>
#include <string>

#include "worker/engine/graph/model.h"

namespace lathe::engine {

// norm(W - W') / norm(W), Frobenius, for every weight of `original` whose operator, or pair of
// low-rank operators, can be found in `written` by the name of its node and evaluated. Layers that
// cannot are left out. One layer at a time is held in memory.
std::map<std::string, double> WeightErrors(Model& original, const Model& written);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_EVALUATE_WEIGHT_ERROR_H_
