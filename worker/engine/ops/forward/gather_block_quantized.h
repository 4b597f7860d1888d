// com.microsoft GatherBlockQuantized (gather_block_quantized.cc), listed in the table of gather.cc.
#ifndef LATHE_WORKER_ENGINE_OPS_FORWARD_GATHER_BLOCK_QUANTIZED_H_
#define LATHE_WORKER_ENGINE_OPS_FORWARD_GATHER_BLOCK_QUANTIZED_H_

#include "absl/status/status.h"
#include "worker/engine/ops/forward/run_context.h"

namespace lathe::engine {

absl::Status RunGatherBlockQuantized(RunContext& ctx);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_OPS_FORWARD_GATHER_BLOCK_QUANTIZED_H_
