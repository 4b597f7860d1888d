// Weights that are parameters of model-local functions.
#ifndef LATHE_WORKER_ENGINE_GRAPH_FUNCTION_PARAMETERS_H_
#define LATHE_WORKER_ENGINE_GRAPH_FUNCTION_PARAMETERS_H_

#include <vector>

#include "worker/engine/graph/scopes.h"
#include "worker/engine/graph/trace.h"

namespace lathe::engine {

// The function whose body is `graph`; nullptr when it is another graph.
const Function* FunctionOfBody(const Model& model, const Graph* graph);

// Whether some call of the function gives `parameter` (a formal input, or a Constant that stands
// for an attribute of the call) a constant, directly or handed down through the callers' own
// parameters. False when `parameter` belongs to no function.
bool TakesConstant(const Model& model, const ScopeIndex& index, Tracer& tracer,
                   const Definition& parameter);

// The functions that hold a weighted operator whose weight is a parameter that takes a constant, in
// the model's order.
std::vector<const Function*> FunctionsWithWeightParameters(const Model& model);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_GRAPH_FUNCTION_PARAMETERS_H_
