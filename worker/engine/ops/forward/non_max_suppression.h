// NonMaxSuppression (non_max_suppression.cc), listed in the table of selection.cc.
#ifndef LATHE_WORKER_ENGINE_OPS_FORWARD_NON_MAX_SUPPRESSION_H_
#define LATHE_WORKER_ENGINE_OPS_FORWARD_NON_MAX_SUPPRESSION_H_

#include "absl/status/status.h"
#include "worker/engine/ops/forward/run_context.h"

namespace lathe::engine {

absl::Status RunNonMaxSuppression(RunContext& ctx);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_OPS_FORWARD_NON_MAX_SUPPRESSION_H_
