// The parts of ConstantEvaluator that undo quantization.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/checked.h"
#include "common/status_macros.h"
#include "worker/engine/evaluate/constant_evaluator.h"
#include "worker/engine/evaluate/decode.h"
#include "worker/engine/graph/trace.h"
#include "worker/engine/ops/op_context.h"

namespace lathe::engine {
namespace {

int64_t Count(const Shape& dims) { return CheckedProduct(dims).value_or(0); }

}  // namespace

// y = (x - zero_point) scale. Scale and zero point: one number; one an index of `axis`; or, with
// block_size, one for each run of so many indices of `axis`.
absl::StatusOr<ConstantEvaluator::Piece> ConstantEvaluator::EvalDequantize(
    const Definition& definition, const std::optional<RowRange>& rows) const {
  const Node& node = *definition.node;
  const Graph* graph = definition.graph;
  if (node.inputs.size() < 2) return NotUnderstood(node);
  ASSIGN_OR_RETURN(const ConstantPlan plan, PlanOf(graph, node.inputs[0], 0));
  ASSIGN_OR_RETURN(Piece x, Eval(graph, node.inputs[0], rows));
  ASSIGN_OR_RETURN(Piece scale, Eval(graph, node.inputs[1], std::nullopt));
  Piece zero;
  if (node.inputs.size() > 2 && !node.inputs[2].empty()) {
    ASSIGN_OR_RETURN(zero, Eval(graph, node.inputs[2], std::nullopt));
  }
  if (zero.values.empty()) zero.values.assign(scale.values.size(), 0.0f);
  if (zero.values.size() != scale.values.size() || scale.values.empty()) return NotUnderstood(node);
  if (scale.values.size() == 1) {
    for (float& value : x.values) value = (value - zero.values[0]) * scale.values[0];
    return x;
  }
  const auto rank = static_cast<int64_t>(plan.dims.size());
  const auto axis = NormalAxis(node.IntAttribute("axis", 1), rank);
  if (!axis) return NotUnderstood(node);
  const auto at = static_cast<size_t>(*axis);
  int64_t block = node.IntAttribute("block_size", 0);
  const bool blocked = block > 0;
  if (block <= 0) block = 1;
  const int64_t extent = plan.dims[at];
  const int64_t blocks = (extent + block - 1) / block;
  int64_t inner = 1;
  for (size_t i = at + 1; i < plan.dims.size(); ++i) inner *= plan.dims[i];
  int64_t outer = 1;
  for (size_t i = 0; i < at; ++i) outer *= x.dims[i];
  // Blocked scales have the rank of x; others lie along the axis alone.
  const int64_t scale_inner = blocked ? inner : 1;
  const int64_t all_outer =
      blocked ? Count(Shape(plan.dims.begin(), plan.dims.begin() + *axis)) : 1;
  if (static_cast<int64_t>(scale.values.size()) != all_outer * blocks * scale_inner) {
    return NotUnderstood(node);
  }
  const int64_t first_outer =
      rows && at > 0 ? rows->begin * (outer / std::max<int64_t>(1, rows->end - rows->begin)) : 0;
  const int64_t first = rows && at == 0 ? rows->begin : 0;
  const int64_t here = x.dims[at];
  float* values = x.values.data();
  for (int64_t o = 0; o < outer; ++o) {
    for (int64_t i = 0; i < here; ++i) {
      const int64_t scale_row =
          ((blocked ? first_outer + o : 0) * blocks + (first + i) / block) * scale_inner;
      const float* s = scale.values.data() + scale_row;
      const float* z = zero.values.data() + scale_row;
      float* row = values + (o * here + i) * inner;
      if (scale_inner == 1) {
        for (int64_t k = 0; k < inner; ++k) row[k] = (row[k] - z[0]) * s[0];
      } else {
        for (int64_t k = 0; k < inner; ++k) row[k] = (row[k] - z[k]) * s[k];
      }
    }
  }
  return x;
}

// data [V, D] of 4 or 8 bits, blocks along the last axis: scales [V, D / block], zero points
// likewise, packed as data is. uint8 data of fewer bits is packed along the last axis, and then the
// default zero point is 2^(bits - 1).
absl::StatusOr<ConstantEvaluator::Piece> ConstantEvaluator::EvalBlockTable(
    const Definition& definition, const std::optional<RowRange>& rows) const {
  const Node& node = *definition.node;
  const Graph* graph = definition.graph;
  if (node.inputs.size() < 3) return NotUnderstood(node);
  ASSIGN_OR_RETURN(const ConstantPlan plan, PlanNode(definition, 0));
  const Definition* data = index_.Resolve(graph, node.inputs[0]);
  const Tensor* tensor = data == nullptr ? nullptr : ConstantTensor(*data);
  const auto axis =
      NormalAxis(node.IntAttribute("quantize_axis", 1), static_cast<int64_t>(plan.dims.size()));
  const int64_t block = node.IntAttribute("block_size", 128);
  const int bits = static_cast<int>(node.IntAttribute("bits", 4));
  if (tensor == nullptr || !axis || *axis + 1 != static_cast<int64_t>(plan.dims.size()) ||
      block < 1) {
    return NotUnderstood(node);
  }
  const bool packed = tensor->dtype == DType::kUint8 && bits < 8;
  const int64_t width = plan.dims.back();
  const int64_t blocks = (width + block - 1) / block;
  const RowRange range = rows.value_or(RowRange{0, plan.dims[0]});
  const int64_t lines = Count(plan.dims) / std::max<int64_t>(1, width);
  const int64_t lines_a_row = lines / std::max<int64_t>(1, plan.dims[0]);
  ASSIGN_OR_RETURN(const Piece scale, Eval(graph, node.inputs[2], std::nullopt));
  if (static_cast<int64_t>(scale.values.size()) != lines * blocks) return NotUnderstood(node);
  const Tensor* zeros = nullptr;
  if (node.inputs.size() > 3 && !node.inputs[3].empty()) {
    const Definition* found = index_.Resolve(graph, node.inputs[3]);
    zeros = found == nullptr ? nullptr : ConstantTensor(*found);
    if (zeros == nullptr) return NotUnderstood(node);
  }
  const float fallback =
      tensor->dtype == DType::kUint8 ? static_cast<float>(1 << (bits - 1)) : 0.0f;
  const int64_t line_bytes = (width * bits + 7) / 8;
  const int64_t zero_bytes = (blocks * bits + 7) / 8;
  Piece out;
  out.dims = plan.dims;
  out.dims[0] = range.end - range.begin;
  const int64_t begin = range.begin * lines_a_row;
  const int64_t end = range.end * lines_a_row;
  if (packed) {
    out.values.resize(static_cast<size_t>((end - begin) * width));
    for (int64_t line = begin; line < end; ++line) {
      const absl::string_view bytes = tensor->data.view().substr(
          static_cast<size_t>(line * line_bytes), static_cast<size_t>(line_bytes));
      for (int64_t i = 0; i < width; ++i) {
        out.values[static_cast<size_t>((line - begin) * width + i)] =
            static_cast<float>(UnpackBits(bytes, i, bits));
      }
    }
  } else {
    ASSIGN_OR_RETURN(out.values, DecodeElements(*tensor, begin * width, (end - begin) * width));
  }
  std::vector<float> plain_zeros;
  if (zeros != nullptr && !packed) {
    ASSIGN_OR_RETURN(plain_zeros, DecodeElements(*zeros, 0, zeros->size()));
    if (plain_zeros.size() != scale.values.size()) return NotUnderstood(node);
  } else if (zeros != nullptr && zeros->byte_size() < lines * zero_bytes) {
    return NotUnderstood(node);
  }
  for (int64_t line = begin; line < end; ++line) {
    for (int64_t i = 0; i < width; ++i) {
      const int64_t at = line * blocks + i / block;
      float zero = fallback;
      if (!plain_zeros.empty()) {
        zero = plain_zeros[static_cast<size_t>(at)];
      } else if (zeros != nullptr) {
        zero = static_cast<float>(
            UnpackBits(zeros->data.view().substr(static_cast<size_t>(line * zero_bytes),
                                                 static_cast<size_t>(zero_bytes)),
                       i / block, bits));
      }
      float& value = out.values[static_cast<size_t>((line - begin) * width + i)];
      value = (value - zero) * scale.values[static_cast<size_t>(at)];
    }
  }
  return out;
}

}  // namespace lathe::engine
