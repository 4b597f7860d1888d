// What a runtime made of a quantized model: compares the file with the graph that ONNX Runtime
// saved after optimizing it.
#ifndef LATHE_WORKER_ENGINE_LINT_FUSION_H_
#define LATHE_WORKER_ENGINE_LINT_FUSION_H_

#include <vector>

#include "worker/engine/graph/model.h"
#include "worker/engine/lint/finding.h"

namespace lathe::engine {

// The groups of `meant` that did not become what they were written for, each a finding:
//
//   DQ, DQ -> Conv -> [activation] -> [Q]           QLinearConv
//   DQ, DQ -> MatMul or Gemm -> [Add] -> [Q]        QLinearMatMul, QGemm, MatMulIntegerToFloat
//   DQ(constant) -> MatMul or Gemm                  MatMulNBits
//   DynamicQuantizeLinear -> MatMulInteger -> ...   DynamicQuantizeMatMul, MatMulIntegerToFloat
//   DQ -> Add, Mul, Concat, Sigmoid, ... -> Q       QLinearAdd, ...
//
// Rule `not_fused` (slow): the group is there in another form. Rule `not_found` (note): no node of
// `optimized` gives its result, reads its weight or has its name; it may have been folded away.
// `optimized` is the file of SessionOptions.optimized_model_filepath, saved at level extended or
// all. Linear in both.
std::vector<Finding> CompareFusion(const Model& meant, const Model& optimized);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_LINT_FUSION_H_
