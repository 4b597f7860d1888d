// Activations and sums go into the layer before them.
//
//   before: y = Relu(Add(Conv(x, W, B), z))        after: y = lathe::Conv(x, W, B, z)
//   before: y = Mul(c, Sigmoid(c)), c = Conv(...)         with activation = "Relu", "Silu", ...
//   before: y = Gelu(Gemm(...)) or of lathe::MatMul
//
// Activations: Relu, Clip with constant bounds, LeakyRelu, Elu, Sigmoid, Tanh, HardSigmoid,
// HardSwish, Gelu, x Sigmoid(x), x HardSigmoid(x) with alpha = 1/6. Preconditions: nothing else
// reads what the layer gave; of a sum, both terms have the shape of the layer's output (known: both
// are outputs of Convs, or the other is known to be of that shape), which the run checks again.
#ifndef LATHE_WORKER_ENGINE_PASSES_FUSE_ACTIVATION_H_
#define LATHE_WORKER_ENGINE_PASSES_FUSE_ACTIVATION_H_

#include "worker/engine/passes/graph_view.h"

namespace lathe::engine {

void FuseActivations(GraphView& view);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_PASSES_FUSE_ACTIVATION_H_
