#include "worker/engine/run/optimize.h"

#include "worker/engine/passes/fold_batch_norm.h"
#include "worker/engine/passes/fold_constants.h"
#include "worker/engine/passes/fuse_activation.h"
#include "worker/engine/passes/fuse_pattern.h"
#include "worker/engine/passes/fuse_product.h"

namespace lathe::engine {

absl::Status OptimizeForRun(Model& model, Backend& backend) {
  FoldConstants(model, backend);
  ForEachView(model, FoldBatchNorm);
  ForEachView(model, FuseLayerNorm);
  ForEachView(model, FuseGelu);
  ForEachView(model, FuseProducts);
  ForEachView(model, FuseActivations);
  return absl::OkStatus();
}

}  // namespace lathe::engine
