// Unique (unique.cc), listed in the table of selection.cc.
#ifndef LATHE_WORKER_ENGINE_OPS_FORWARD_UNIQUE_H_
#define LATHE_WORKER_ENGINE_OPS_FORWARD_UNIQUE_H_

#include "absl/status/status.h"
#include "worker/engine/ops/forward/run_context.h"

namespace lathe::engine {

absl::Status RunUnique(RunContext& ctx);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_OPS_FORWARD_UNIQUE_H_
