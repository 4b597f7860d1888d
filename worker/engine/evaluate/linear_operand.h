// The constant matrix that a linear operator multiplies by, whatever form it is stored in.
#ifndef LATHE_WORKER_ENGINE_EVALUATE_LINEAR_OPERAND_H_
#define LATHE_WORKER_ENGINE_EVALUATE_LINEAR_OPERAND_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/engine/evaluate/constant_evaluator.h"
#include "worker/engine/graph/model.h"

namespace lathe::engine {

// com.microsoft MatMulNBits: y = x W^T, W [N, K] in blocks of `bits` wide values along K.
class BlockMatrix {
 public:
  // FAILED_PRECONDITION when an operand is not a constant or has another size than it should.
  static absl::StatusOr<BlockMatrix> Read(const ConstantEvaluator& evaluator,
                                          const ScopeIndex& index, const Graph* graph,
                                          const Node& node);
  int64_t rows() const { return n_; }
  int64_t columns() const { return k_; }
  // Rows [begin, end) of W, row-major.
  std::vector<float> Rows(int64_t begin, int64_t end) const;

 private:
  int64_t n_ = 0;
  int64_t k_ = 0;
  int64_t block_ = 0;
  int bits_ = 0;
  const Tensor* packed_ = nullptr;
  std::vector<float> scales_;  // [N, K / block]
  const Tensor* packed_zeros_ = nullptr;
  std::vector<float> zeros_;  // likewise; empty: packed, or the default
};

// A linear operator's weight as a matrix M: y = x M, x [..., in], y [..., out].
struct LinearOperand {
  int64_t in = 0;
  int64_t out = 0;
  bool out_major = false;  // values[o in + i], otherwise values[i out + o]
  std::vector<float> values;
  std::string data;  // the value that the operator multiplies it with
};

// Of a MatMul with a constant matrix on either side, a Gemm, a convolution with a kernel of one
// element, or MatMulNBits; UNIMPLEMENTED for others.
absl::StatusOr<LinearOperand> ReadLinearOperand(const ConstantEvaluator& evaluator,
                                                const ScopeIndex& index, const Graph* graph,
                                                const Node& node);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_EVALUATE_LINEAR_OPERAND_H_
