// Computes once what constants alone decide.
//
//   before: w = DequantizeLinear(q, s); y = MatMul(x, w)      with initializers q, s
//   after:  y = MatMul(x, w)                                  with initializer w
//
// A node is folded when every input is a constant (or it has none), the engine can run it, it has
// no subgraph, gives the same each time, and its outputs are tensors of at most
// kMaxFoldedBytes. What fails stays, and fails in the run. Outputs of the graph stay node outputs.
#ifndef LATHE_WORKER_ENGINE_PASSES_FOLD_CONSTANTS_H_
#define LATHE_WORKER_ENGINE_PASSES_FOLD_CONSTANTS_H_

#include <cstdint>

#include "worker/engine/graph/model.h"
#include "worker/engine/kernels/backend.h"

namespace lathe::engine {

// Of one node's outputs, and of all that a model's folding adds.
inline constexpr int64_t kMaxFoldedBytes = int64_t{256} << 20;
inline constexpr int64_t kMaxFoldedBytesInAll = int64_t{4} << 30;

void FoldConstants(Model& model, Backend& backend);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_PASSES_FOLD_CONSTANTS_H_
