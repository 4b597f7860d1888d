// A product of batches of matrices, as MatMul, Gemm and Einsum need it.
#ifndef LATHE_WORKER_ENGINE_OPS_FORWARD_PRODUCT_H_
#define LATHE_WORKER_ENGINE_OPS_FORWARD_PRODUCT_H_

#include "absl/status/status.h"
#include "worker/engine/kernels/post_op.h"
#include "worker/engine/ops/forward/run_context.h"

namespace lathe::engine {

struct MatrixProduct {
  Shape a_batch;  // of input 0; broadcasts with
  Shape b_batch;  // that of input 1
  bool trans_a = false;
  bool trans_b = false;
  int64_t m = 0;
  int64_t n = 0;
  int64_t k = 0;
  float alpha = 1;
  const float* bias = nullptr;  // [n]
  bool accumulate = false;
  PostOp post_op;
};

// y [batch..., m, n] := inputs 0 and 1 of `ctx`, whose shapes the caller has checked. Uses the
// node's state. float32; other numbers without alpha, bias and post-op.
absl::Status RunMatrixProduct(RunContext& ctx, const MatrixProduct& product, Value& y);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_OPS_FORWARD_PRODUCT_H_
