#include "worker/engine/graph/weighted_ops.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace lathe::engine {
namespace {

constexpr WeightSlot kSlots[] = {
    {"Conv", 1, WeightRole::kConv, ""},
    {"ConvTranspose", 1, WeightRole::kConvTranspose, ""},
    {"Gemm", 1, WeightRole::kGemmB, ""},
    {"MatMul", 1, WeightRole::kMatMulRight, ""},
    {"MatMul", 0, WeightRole::kMatMulLeft, ""},
    {"Gather", 0, WeightRole::kEmbedding, ""},
    {"LSTM", 1, WeightRole::kRnnInput, ".W"},
    {"LSTM", 2, WeightRole::kRnnRecurrent, ".R"},
    {"GRU", 1, WeightRole::kRnnInput, ".W"},
    {"GRU", 2, WeightRole::kRnnRecurrent, ".R"},
    {"RNN", 1, WeightRole::kRnnInput, ".W"},
    {"RNN", 2, WeightRole::kRnnRecurrent, ".R"},
};

constexpr char kMicrosoft[] = "com.microsoft";

constexpr QuantizedSlot kQuantizedSlots[] = {
    {"", "QLinearConv", 3, WeightRole::kConv, ""},
    {"", "QLinearMatMul", 3, WeightRole::kMatMulRight, ""},
    {"", "ConvInteger", 1, WeightRole::kConv, ""},
    {"", "MatMulInteger", 1, WeightRole::kMatMulRight, ""},
    {kMicrosoft, "QLinearConv", 3, WeightRole::kConv, ""},
    {kMicrosoft, "QLinearMatMul", 3, WeightRole::kMatMulRight, ""},
    {kMicrosoft, "ConvInteger", 1, WeightRole::kConv, ""},
    {kMicrosoft, "MatMulInteger", 1, WeightRole::kMatMulRight, ""},
    {kMicrosoft, "MatMulInteger16", 1, WeightRole::kMatMulRight, ""},
    {kMicrosoft, "MatMulIntegerToFloat", 1, WeightRole::kMatMulRight, ""},
    {kMicrosoft, "DynamicQuantizeMatMul", 1, WeightRole::kMatMulRight, ""},
    {kMicrosoft, "DynamicQuantizeLSTM", 1, WeightRole::kRnnInput, ".W"},
    {kMicrosoft, "DynamicQuantizeLSTM", 2, WeightRole::kRnnRecurrent, ".R"},
    {kMicrosoft, "MatMulNBits", 1, WeightRole::kMatMulRight, ""},
    {kMicrosoft, "MatMulBnb4", 1, WeightRole::kMatMulRight, ""},
    {kMicrosoft, "MatMulFpQ4", 1, WeightRole::kMatMulRight, ""},
    {kMicrosoft, "GatherBlockQuantized", 0, WeightRole::kEmbedding, ""},
    {kMicrosoft, "QGemm", 3, WeightRole::kGemmB, ""},
    {kMicrosoft, "QAttention", 1, WeightRole::kMatMulRight, ""},
    {kMicrosoft, "QEmbedLayerNormalization", 2, WeightRole::kEmbedding, ""},
    {kMicrosoft, "QOrderedMatMul", 2, WeightRole::kMatMulRight, ""},
    {kMicrosoft, "QOrderedAttention", 2, WeightRole::kMatMulRight, ""},
    {kMicrosoft, "QMoE", 2, WeightRole::kMatMulRight, ""},
};

std::string DimsText(const Shape& dims) {
  return absl::StrCat("[", absl::StrJoin(dims, ", "), "]");
}

}  // namespace

std::vector<WeightSlot> WeightSlots(const Node& node) {
  std::vector<WeightSlot> slots;
  if (!node.domain.empty()) return slots;
  for (const WeightSlot& slot : kSlots) {
    if (node.op_type == slot.op) slots.push_back(slot);
  }
  return slots;
}

std::vector<QuantizedSlot> QuantizedSlots(const Node& node) {
  std::vector<QuantizedSlot> slots;
  for (const QuantizedSlot& slot : kQuantizedSlots) {
    if (node.op_type == slot.op && node.domain == slot.domain) slots.push_back(slot);
  }
  return slots;
}

bool IsContribDomain(const std::string& domain) {
  return domain == kMicrosoft || domain.rfind("com.microsoft.", 0) == 0 ||
         domain.rfind("com.ms.internal.", 0) == 0;
}

std::string FillAxes(const Shape& source, WeightUse& use) {
  const int rank = static_cast<int>(source.size());
  use.dims = source;
  if (!use.permutation.empty()) {
    for (int i = 0; i < rank; ++i) use.dims[i] = source[use.permutation[i]];
  }
  const auto wrong_rank = [&](absl::string_view expected) {
    return absl::StrCat("its weight has shape ", DimsText(use.dims), ", ", use.node->op_type,
                        " needs ", expected);
  };
  switch (use.role) {
    case WeightRole::kConv:
    case WeightRole::kConvTranspose: {
      if (rank < 3) return wrong_rank("rank 3 or more");
      const bool transposed = use.role == WeightRole::kConvTranspose;
      use.groups = use.node->IntAttribute("group", 1);
      if (use.groups < 1 || use.dims[0] % use.groups != 0) {
        return absl::StrCat("group = ", use.groups,
                            " does not divide the first dimension of its weight ",
                            DimsText(use.dims));
      }
      use.output_axis = transposed ? 1 : 0;
      use.reduction_axis = transposed ? 0 : 1;
      break;
    }
    case WeightRole::kGemmB: {
      if (rank != 2) return wrong_rank("rank 2");
      const bool transposed = use.node->IntAttribute("transB", 0) != 0;
      use.output_axis = transposed ? 0 : 1;
      use.reduction_axis = transposed ? 1 : 0;
      break;
    }
    case WeightRole::kMatMulRight:
      if (rank < 1) return wrong_rank("rank 1 or more");
      use.output_axis = rank == 1 ? -1 : rank - 1;
      use.reduction_axis = rank == 1 ? 0 : rank - 2;
      break;
    case WeightRole::kMatMulLeft:
      if (rank < 1) return wrong_rank("rank 1 or more");
      use.output_axis = rank == 1 ? -1 : rank - 2;
      use.reduction_axis = rank - 1;
      break;
    case WeightRole::kEmbedding:
      if (rank < 2) return wrong_rank("rank 2 or more");
      use.output_axis = 0;
      use.reduction_axis = rank - 1;
      break;
    case WeightRole::kRnnInput:
    case WeightRole::kRnnRecurrent:
      if (rank != 3) return wrong_rank("rank 3");
      // [directions, gates, inputs]; that of com.microsoft's LSTM is transposed.
      use.output_axis = use.node->domain.empty() ? 1 : 2;
      use.reduction_axis = use.node->domain.empty() ? 2 : 1;
      break;
  }
  const auto in_source = [&use](int axis) {
    return axis < 0 || use.permutation.empty() ? axis : static_cast<int>(use.permutation[axis]);
  };
  use.source_output_axis = in_source(use.output_axis);
  use.source_reduction_axis = in_source(use.reduction_axis);
  return "";
}

}  // namespace lathe::engine
