// Operators that exporters wrote out.
//
//   Gelu:  x 0.5 (1 + Erf(x / sqrt(2)))  in any order of its products      -> Gelu(x)
//   LayerNormalization:  d = x - ReduceMean(x);
//          d / Sqrt(ReduceMean(Pow(d, 2)) + e) * scale + bias                -> LayerNormalization
//
// Preconditions: nothing else reads the values between; the numbers are those; the means are over
// the last axis and keep it; scale and bias are constants of one axis.
#ifndef LATHE_WORKER_ENGINE_PASSES_FUSE_PATTERN_H_
#define LATHE_WORKER_ENGINE_PASSES_FUSE_PATTERN_H_

#include "worker/engine/passes/graph_view.h"

namespace lathe::engine {

void FuseGelu(GraphView& view);
void FuseLayerNorm(GraphView& view);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_PASSES_FUSE_PATTERN_H_
