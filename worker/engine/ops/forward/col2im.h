// Col2Im (col2im.cc), listed in the table of region.cc.
#ifndef LATHE_WORKER_ENGINE_OPS_FORWARD_COL2IM_H_
#define LATHE_WORKER_ENGINE_OPS_FORWARD_COL2IM_H_

#include "absl/status/status.h"
#include "worker/engine/ops/forward/run_context.h"

namespace lathe::engine {

absl::Status RunCol2Im(RunContext& ctx);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_OPS_FORWARD_COL2IM_H_
