// Normalizations over the last axes (internal to norm.cc's table).
#ifndef LATHE_WORKER_ENGINE_OPS_FORWARD_LAYER_NORM_H_
#define LATHE_WORKER_ENGINE_OPS_FORWARD_LAYER_NORM_H_

#include "absl/status/status.h"
#include "worker/engine/ops/forward/run_context.h"

namespace lathe::engine {

absl::Status LayerNormalization(RunContext& ctx);
absl::Status RmsNormalization(RunContext& ctx);  // also SimplifiedLayerNormalization
// com.microsoft: of input + skip (+ bias), whose sum is output 3.
absl::Status SkipLayerNormalization(RunContext& ctx);
absl::Status SkipRmsNormalization(RunContext& ctx);
absl::Status EmbedLayerNormalization(RunContext& ctx);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_OPS_FORWARD_LAYER_NORM_H_
