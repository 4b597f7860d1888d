// What is done to a model before it runs, so that it runs faster and gives the same.
#ifndef LATHE_WORKER_ENGINE_RUN_OPTIMIZE_H_
#define LATHE_WORKER_ENGINE_RUN_OPTIMIZE_H_

#include "absl/status/status.h"
#include "worker/engine/graph/model.h"
#include "worker/engine/kernels/backend.h"

namespace lathe::engine {

// Rewrites `model`, a copy of the caller's: nodes over constants are computed once, operators are
// fused. Outputs keep their names; other values may go.
absl::Status OptimizeForRun(Model& model, Backend& backend);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_RUN_OPTIMIZE_H_
