#include "worker/engine/evaluate/linear_operand.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/engine/evaluate/decode.h"
#include "worker/engine/graph/trace.h"
#include "worker/engine/ops/value_fact.h"

namespace lathe::engine {
namespace {

const Tensor* ConstantInput(const ScopeIndex& index, const Graph* graph, const Node& node,
                            size_t i) {
  if (i >= node.inputs.size() || node.inputs[i].empty()) return nullptr;
  const Definition* definition = index.Resolve(graph, node.inputs[i]);
  return definition == nullptr ? nullptr : ConstantTensor(*definition);
}

absl::Status Broken(const Node& node, const char* what) {
  return absl::FailedPreconditionError(absl::StrCat(DescribeNode(node), ": ", what));
}

}  // namespace

absl::StatusOr<BlockMatrix> BlockMatrix::Read(const ConstantEvaluator& evaluator,
                                              const ScopeIndex& index, const Graph* graph,
                                              const Node& node) {
  BlockMatrix m;
  m.n_ = node.IntAttribute("N", 0);
  m.k_ = node.IntAttribute("K", 0);
  m.block_ = node.IntAttribute("block_size", 0);
  m.bits_ = static_cast<int>(node.IntAttribute("bits", 4));
  m.packed_ = ConstantInput(index, graph, node, 1);
  if (m.packed_ == nullptr || node.inputs.size() < 3) return Broken(node, "B is not a constant");
  if (!IsPlausible({m.n_, m.k_}) || m.n_ < 1 || m.k_ < 1 || m.block_ < 8 || m.block_ > m.k_ * 256 ||
      (m.bits_ != 2 && m.bits_ != 4 && m.bits_ != 8)) {
    return Broken(node, "its attributes make no matrix");
  }
  const int64_t blocks = (m.k_ + m.block_ - 1) / m.block_;
  const int64_t row_bytes = SaturatingMul(blocks, m.block_) * m.bits_ / 8;
  if (m.packed_->byte_size() < SaturatingMul(m.n_, row_bytes)) {
    return Broken(node, "B is too small for N, K and bits");
  }
  ASSIGN_OR_RETURN(m.scales_, evaluator.Evaluate(graph, node.inputs[2]));
  if (static_cast<int64_t>(m.scales_.size()) != m.n_ * blocks) {
    return Broken(node, "scales have another size than N and K ask for");
  }
  if (node.inputs.size() > 3 && !node.inputs[3].empty()) {
    const Tensor* zeros = ConstantInput(index, graph, node, 3);
    if (zeros == nullptr) return Broken(node, "zero_points are not a constant");
    if (zeros->dtype == DType::kUint8) {
      if (zeros->byte_size() < m.n_ * ((blocks * m.bits_ + 7) / 8)) {
        return Broken(node, "zero_points are too small");
      }
      m.packed_zeros_ = zeros;
    } else {
      ASSIGN_OR_RETURN(m.zeros_, DecodeElements(*zeros, 0, zeros->size()));
      if (m.zeros_.size() != m.scales_.size()) return Broken(node, "zero_points are too small");
    }
  }
  return m;
}

std::vector<float> BlockMatrix::Rows(int64_t begin, int64_t end) const {
  const int64_t blocks = (k_ + block_ - 1) / block_;
  const int64_t row_bytes = blocks * block_ * bits_ / 8;
  const int64_t zero_bytes = (blocks * bits_ + 7) / 8;
  const absl::string_view packed = packed_->data.view();
  const auto fallback = static_cast<float>(1 << (bits_ - 1));
  std::vector<float> out(static_cast<size_t>((end - begin) * k_));
  float* values = out.data();
  for (int64_t n = begin; n < end; ++n) {
    const absl::string_view row =
        packed.substr(static_cast<size_t>(n * row_bytes), static_cast<size_t>(row_bytes));
    for (int64_t b = 0; b < blocks; ++b) {
      const float scale = scales_[static_cast<size_t>(n * blocks + b)];
      float zero = fallback;
      if (!zeros_.empty()) {
        zero = zeros_[static_cast<size_t>(n * blocks + b)];
      } else if (packed_zeros_ != nullptr) {
        zero = static_cast<float>(
            UnpackBits(packed_zeros_->data.view().substr(static_cast<size_t>(n * zero_bytes),
                                                         static_cast<size_t>(zero_bytes)),
                       b, bits_));
      }
      const int64_t stop = std::min(k_, (b + 1) * block_);
      for (int64_t k = b * block_; k < stop; ++k) {
        *values++ = (static_cast<float>(UnpackBits(row, k, bits_)) - zero) * scale;
      }
    }
  }
  return out;
}

absl::StatusOr<LinearOperand> ReadLinearOperand(const ConstantEvaluator& evaluator,
                                                const ScopeIndex& index, const Graph* graph,
                                                const Node& node) {
  LinearOperand operand;
  if (node.op_type == "MatMulNBits" && !node.inputs.empty()) {
    ASSIGN_OR_RETURN(const BlockMatrix matrix, BlockMatrix::Read(evaluator, index, graph, node));
    operand.in = matrix.columns();
    operand.out = matrix.rows();
    operand.out_major = true;
    operand.values = matrix.Rows(0, matrix.rows());
    operand.data = node.inputs[0];
    return operand;
  }
  const bool product = node.Is("MatMul") || node.Is("Gemm");
  if ((!product && !node.Is("Conv")) || node.inputs.size() < 2) {
    return absl::UnimplementedError(
        absl::StrCat(DescribeNode(node), " is not an operator with a constant matrix"));
  }
  size_t at = 1;
  absl::StatusOr<ConstantPlan> plan = evaluator.Plan(graph, node.inputs[1]);
  if (!plan.ok() && node.Is("MatMul")) {
    at = 0;
    plan = evaluator.Plan(graph, node.inputs[0]);
  }
  if (!plan.ok()) return plan.status();
  const Shape& dims = plan->dims;
  const bool pointwise =
      node.Is("Conv") && dims.size() > 2 && node.IntAttribute("group", 1) == 1 &&
      std::all_of(dims.begin() + 2, dims.end(), [](int64_t k) { return k == 1; });
  if (product ? dims.size() != 2 : !pointwise) {
    return absl::UnimplementedError(
        absl::StrCat("the weight of ", DescribeNode(node), " is not a matrix"));
  }
  operand.out_major =
      at == 0 || pointwise || (node.Is("Gemm") && node.IntAttribute("transB", 0) != 0);
  operand.out = dims[operand.out_major ? 0 : 1];
  operand.in = dims[operand.out_major ? 1 : 0];
  operand.data = node.inputs[at == 0 ? 1 : 0];
  ASSIGN_OR_RETURN(operand.values, evaluator.Evaluate(graph, node.inputs[at]));
  return operand;
}

}  // namespace lathe::engine
