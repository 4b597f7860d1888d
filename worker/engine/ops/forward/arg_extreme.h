// ArgMax, ArgMin and Det (arg_extreme.cc), listed in the table of reduction.cc.
#ifndef LATHE_WORKER_ENGINE_OPS_FORWARD_ARG_EXTREME_H_
#define LATHE_WORKER_ENGINE_OPS_FORWARD_ARG_EXTREME_H_

#include "absl/status/status.h"
#include "worker/engine/ops/forward/run_context.h"

namespace lathe::engine {

absl::Status RunArgExtreme(RunContext& ctx);
absl::Status RunDet(RunContext& ctx);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_OPS_FORWARD_ARG_EXTREME_H_
