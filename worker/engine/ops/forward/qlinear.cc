#include "worker/engine/ops/forward/qlinear.h"

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/engine/ops/forward/forward.h"
#include "worker/engine/ops/forward/granularity.h"
#include "worker/engine/ops/forward/tensors_only.h"
#include "worker/engine/ops/forward/value_read.h"

namespace lathe::engine {
namespace {

absl::Status QAttention(RunContext& ctx) {
  return ctx.Unsupported(
      "attention on quantized inputs is not computed; use the model from before onnxruntime fused "
      "it");
}

// How input `i` lies over an operand's lines.
absl::Status Lay(const RunContext& ctx, size_t i, const Shape& operand, size_t axis, size_t reduced,
                 int64_t* step, int64_t* stride) {
  const Value& value = ctx.In(i);
  *step = *stride = 0;
  if (!value.IsTensor()) return ctx.Error(absl::StrCat("input ", i, " must be a tensor"));
  if (value.size() == 1) return absl::OkStatus();
  if (value.dims.size() == 1 && axis < operand.size() && value.dims[0] == operand[axis]) {
    *step = 1;
    return absl::OkStatus();
  }
  Shape wanted = operand;
  if (reduced < wanted.size()) wanted[reduced] = 1;
  if (value.dims == wanted && operand.size() >= 2 && value.size() > 0) {
    *step = 1;
    *stride = operand[axis];
    return absl::OkStatus();
  }
  return ctx.Error(
      absl::StrCat("input ", i, " must be a scalar or have one element for each of the ",
                   axis < operand.size() ? operand[axis] : 1, " lines of its operand"));
}

constexpr char kMs[] = "com.microsoft";

constexpr OpForward kForwards[] = {
    {"", "ConvInteger", OnTensors<ConvInteger>},
    {"", "MatMulInteger", OnTensors<MatMulInteger>},
    {"", "QLinearConv", OnTensors<QLinearConv>},
    {"", "QLinearMatMul", OnTensors<QLinearMatMul>},
    {kMs, "DynamicQuantizeMatMul", OnTensors<DynamicQuantizeMatMul>},
    {kMs, "MatMulIntegerToFloat", OnTensors<MatMulIntegerToFloat>},
    {kMs, "MatMulNBits", OnTensors<MatMulNBits>, kComputesInFloat},
    {kMs, "QAttention", OnTensors<QAttention>},
    {kMs, "QGemm", OnTensors<QGemm>},
    {kMs, "QLinearAdd", OnTensors<QLinearAdd>},
    {kMs, "QLinearAveragePool", OnTensors<QLinearAveragePool>},
    {kMs, "QLinearConcat", OnTensors<QLinearConcat>},
    {kMs, "QLinearConv", OnTensors<QLinearConv>},
    {kMs, "QLinearGlobalAveragePool", OnTensors<QLinearGlobalAveragePool>},
    {kMs, "QLinearLeakyRelu", OnTensors<QLinearLeakyRelu>},
    {kMs, "QLinearMul", OnTensors<QLinearMul>},
    {kMs, "QLinearSigmoid", OnTensors<QLinearSigmoid>},
    {kMs, "QLinearSoftmax", OnTensors<QLinearSoftmax>},
    {kMs, "QLinearWhere", OnTensors<QLinearWhere>},
};

}  // namespace

absl::StatusOr<int32_t> ReadZero(const RunContext& ctx, size_t zero, DType dtype) {
  if (!ctx.Has(zero)) return 0;
  if (ctx.In(zero).dtype != dtype || ctx.In(zero).size() != 1) {
    return ctx.Error(
        absl::StrCat("input ", zero, ", a zero point, must be one ", DTypeName(dtype)));
  }
  return static_cast<int32_t>(ReadInteger(ctx.In(zero), 0));
}

absl::StatusOr<Affine> ReadAffine(const RunContext& ctx, size_t scale, size_t zero, DType dtype) {
  if (!ctx.Has(scale) || !IsFloat(ctx.In(scale).dtype) || ctx.In(scale).size() != 1) {
    return ctx.Error(absl::StrCat("input ", scale, ", a scale, must be one float"));
  }
  Affine affine;
  affine.scale = static_cast<float>(ReadNumber(ctx.In(scale), 0));
  ASSIGN_OR_RETURN(affine.zero, ReadZero(ctx, zero, dtype));
  return affine;
}

absl::StatusOr<Lines<float>> ReadScaleLines(const RunContext& ctx, size_t i, const Shape& operand,
                                            size_t axis, size_t reduced) {
  Lines<float> lines;
  if (!ctx.Has(i) || !IsFloat(ctx.In(i).dtype)) {
    return ctx.Error(absl::StrCat("input ", i, ", a scale, must be float"));
  }
  RETURN_IF_ERROR(Lay(ctx, i, operand, axis, reduced, &lines.step, &lines.stride));
  lines.values = ReadFloats(ctx.In(i));
  if (lines.values.empty()) lines.values.push_back(1);
  return lines;
}

absl::StatusOr<Lines<int32_t>> ReadZeroLines(const RunContext& ctx, size_t i, DType dtype,
                                             const Shape& operand, size_t axis, size_t reduced) {
  Lines<int32_t> lines;
  if (ctx.Has(i)) {
    const Value& value = ctx.In(i);
    if (value.dtype != dtype) {
      return ctx.Error(absl::StrCat("input ", i, ", a zero point, must be ", DTypeName(dtype)));
    }
    RETURN_IF_ERROR(Lay(ctx, i, operand, axis, reduced, &lines.step, &lines.stride));
    for (int64_t at = 0; at < value.size(); ++at) {
      lines.values.push_back(static_cast<int32_t>(ReadInteger(value, at)));
    }
  }
  if (lines.values.empty()) lines.values.push_back(0);
  return lines;
}

std::span<const OpForward> QLinearForwards() { return kForwards; }

}  // namespace lathe::engine
