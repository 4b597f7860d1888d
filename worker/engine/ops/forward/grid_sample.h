// GridSample and AffineGrid (grid_sample.cc), listed in the table of resize.cc.
#ifndef LATHE_WORKER_ENGINE_OPS_FORWARD_GRID_SAMPLE_H_
#define LATHE_WORKER_ENGINE_OPS_FORWARD_GRID_SAMPLE_H_

#include "absl/status/status.h"
#include "worker/engine/ops/forward/run_context.h"

namespace lathe::engine {

absl::Status RunGridSample(RunContext& ctx);
absl::Status RunAffineGrid(RunContext& ctx);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_OPS_FORWARD_GRID_SAMPLE_H_
