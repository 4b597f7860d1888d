// What stands around a MatMul goes into it: lathe::MatMul(a, b, bias) with transA, transB, alpha.
//
//   before: y = Add(MatMul(x, W), B)                 after: y = lathe::MatMul(x, W, B)
//   before: y = MatMul(q, Transpose(k)) / 8          after: y = lathe::MatMul(q, k), transB = 1,
//                                                           alpha = 1 / 8
//
// A Transpose is taken in when it swaps the last two axes; when it moves others too, what is left
// of it keeps the last axis in place, which is cheaper. Preconditions: nothing else reads the
// values between; W is a constant of two axes or more, B a constant [columns], the factor a
// constant of one element.
#ifndef LATHE_WORKER_ENGINE_PASSES_FUSE_PRODUCT_H_
#define LATHE_WORKER_ENGINE_PASSES_FUSE_PRODUCT_H_

#include "worker/engine/passes/graph_view.h"

namespace lathe::engine {

void FuseProducts(GraphView& view);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_PASSES_FUSE_PRODUCT_H_
