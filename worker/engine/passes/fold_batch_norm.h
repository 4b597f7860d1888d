// Puts a BatchNormalization into the weights of the layer before it.
//
//   before: y = BatchNormalization(Conv(x, W, B), scale, bias, mean, var)
//   after:  y = Conv(x, W f, (B - mean) f + bias)     with f = scale / sqrt(var + epsilon)
//
// The same for ConvTranspose and Gemm (alpha = beta = 1 and no transposed A). Preconditions: W, B
// and the normalization's inputs are constants of floats, the layer's output has no other reader,
// the normalization is in inference mode.
#ifndef LATHE_WORKER_ENGINE_PASSES_FOLD_BATCH_NORM_H_
#define LATHE_WORKER_ENGINE_PASSES_FOLD_BATCH_NORM_H_

#include "worker/engine/passes/graph_view.h"

namespace lathe::engine {

void FoldBatchNorm(GraphView& view);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_PASSES_FOLD_BATCH_NORM_H_
