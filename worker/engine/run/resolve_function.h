// The body of a model-local function for one call of it.
#ifndef LATHE_WORKER_ENGINE_RUN_RESOLVE_FUNCTION_H_
#define LATHE_WORKER_ENGINE_RUN_RESOLVE_FUNCTION_H_

#include <memory>

#include "worker/engine/graph/model.h"

namespace lathe::engine {

// A copy in which attributes that refer to the function's own are replaced by the call's, else by
// the function's defaults, else left out, in subgraphs too. Names stay.
std::unique_ptr<Graph> ResolveFunction(const Function& function, const Node& call);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_RUN_RESOLVE_FUNCTION_H_
