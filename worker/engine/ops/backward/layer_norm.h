// Normalizations over the last axes (layer_norm.cc), listed in the table of norm.cc.
#ifndef LATHE_WORKER_ENGINE_OPS_BACKWARD_LAYER_NORM_H_
#define LATHE_WORKER_ENGINE_OPS_BACKWARD_LAYER_NORM_H_

#include "absl/status/status.h"
#include "worker/engine/ops/backward/grad_context.h"

namespace lathe::engine {

absl::Status LayerNormGrad(GradContext& ctx);
absl::Status RmsNormGrad(GradContext& ctx);  // also SimplifiedLayerNormalization
// com.microsoft's.
absl::Status SkipLayerNormGrad(GradContext& ctx);
absl::Status SkipRmsNormGrad(GradContext& ctx);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_OPS_BACKWARD_LAYER_NORM_H_
