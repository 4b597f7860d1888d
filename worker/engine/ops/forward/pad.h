// Pad (pad.cc), listed in the table of pieces.cc.
#ifndef LATHE_WORKER_ENGINE_OPS_FORWARD_PAD_H_
#define LATHE_WORKER_ENGINE_OPS_FORWARD_PAD_H_

#include "absl/status/status.h"
#include "worker/engine/ops/forward/run_context.h"

namespace lathe::engine {

absl::Status RunPad(RunContext& ctx);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_OPS_FORWARD_PAD_H_
