// com.microsoft DynamicQuantizeLSTM: an LSTM whose weights are integers, and whose input and state
// are rounded to 8 bits with the ranges of each run and step.
//
//   W [directions, I, 4 H] and R [directions, H, 4 H], uint8 or int8, transposed against LSTM's:
//   w = (q - zero_point) scale, with one scale [directions] or one a column [directions, 4 H].
//
// Products are of the rounded values, in float: exact but for float's own rounding, where ONNX
// Runtime on a processor without VNNI may saturate. It rounds the state of all sequences of a batch
// with one range, as here, on one thread; on several it may cut the batch and use a range a part.
#include <memory>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/engine/ops/forward/forward.h"
#include "worker/engine/ops/forward/recurrent.h"

namespace lathe::engine {
namespace {

constexpr int64_t kGates = 4;

struct DecodedState : RecurrentState {
  bool constant = false;
  std::vector<float> w;
  std::vector<float> r;
};

// Input `i` [directions, rows, 4 H] as [directions, 4 H, rows]; its scale and zero point are inputs
// `scale` and `scale` + 1.
absl::StatusOr<std::vector<float>> Decode(const RunContext& ctx, size_t i, size_t scale) {
  const Value& q = ctx.In(i);
  const Shape& dims = q.dims;
  const int64_t directions = dims[0];
  const int64_t rows = dims[1];
  const int64_t columns = dims[2];
  const Value& scales = ctx.In(scale);
  const Value& zeros = ctx.In(scale + 1);
  const bool per_column = scales.dims == Shape{directions, columns};
  if (scales.dtype != DType::kFloat || !(per_column || scales.dims == Shape{directions})) {
    return ctx.Error(absl::StrCat("input ", scale, " must be float32 [", directions, "] or [",
                                  directions, ", ", columns, "]"));
  }
  if (zeros.dtype != q.dtype || zeros.dims != scales.dims) {
    return ctx.Error(absl::StrCat("input ", scale + 1, " must be of the type of input ", i,
                                  " and of the shape of input ", scale));
  }
  const bool is_signed = q.dtype == DType::kInt8;
  const float* s = scales.As<float>().data();
  const auto at = [is_signed](const Value& value, int64_t k) {
    const auto index = static_cast<size_t>(k);
    return is_signed ? static_cast<float>(value.As<int8_t>()[index])
                     : static_cast<float>(value.As<uint8_t>()[index]);
  };
  std::vector<float> out(static_cast<size_t>(q.size()));
  for (int64_t d = 0; d < directions; ++d) {
    for (int64_t c = 0; c < columns; ++c) {
      const int64_t group = per_column ? d * columns + c : d;
      // Of several zero points the runtime reads a direction's first, and wants all equal.
      const float zero = at(zeros, per_column ? d * columns : d);
      for (int64_t k = 0; k < rows; ++k) {
        out[static_cast<size_t>((d * columns + c) * rows + k)] =
            (at(q, (d * rows + k) * columns + c) - zero) * s[group];
      }
    }
  }
  return out;
}

absl::Status CheckWeights(const RunContext& ctx) {
  for (const size_t i : {1, 2}) {
    const Value& q = ctx.In(i);
    const bool integers = q.dtype == DType::kInt8 || q.dtype == DType::kUint8;
    if (!q.IsTensor() || !integers || q.dims.size() != 3) {
      return ctx.Error(absl::StrCat("input ", i, " must be of int8 or uint8, with three axes"));
    }
    if (!ctx.In(7 + i * 2 - 1).IsTensor() || !ctx.In(7 + i * 2).IsTensor()) {
      return ctx.Error(absl::StrCat("input ", i, " has no scale or no zero point (inputs ",
                                    7 + i * 2 - 1, " and ", 7 + i * 2, ")"));
    }
  }
  const Shape& w = ctx.In(1).dims;
  const Shape& r = ctx.In(2).dims;
  if (r[2] != SaturatingMul(kGates, r[1]) || w[2] != r[2] || w[0] != r[0]) {
    return ctx.Error("inputs 1 and 2 must be [directions, I, 4 H] and [directions, H, 4 H]");
  }
  return absl::OkStatus();
}

absl::Status DynamicQuantizeLstm(RunContext& ctx) {
  RETURN_IF_ERROR(CheckWeights(ctx));
  auto& state = ctx.State<DecodedState>();
  if (!state.constant) {
    ASSIGN_OR_RETURN(state.w, Decode(ctx, 1, 8));
    ASSIGN_OR_RETURN(state.r, Decode(ctx, 2, 10));
    state.constant = true;
    for (const size_t i : {1, 2, 8, 9, 10, 11}) {
      state.constant = state.constant && ctx.IsConstant(i);
    }
  }
  RecurrentWeights weights;
  weights.w = state.w.data();
  weights.r = state.r.data();
  weights.directions = ctx.In(1).dims[0];
  weights.width = ctx.In(1).dims[1];
  weights.hidden = ctx.In(2).dims[1];
  weights.constant = state.constant;
  return RunRoundedLstm(ctx, weights);
}

constexpr OpForward kForwards[] = {
    {"com.microsoft", "DynamicQuantizeLSTM", DynamicQuantizeLstm},
};

}  // namespace

std::span<const OpForward> RecurrentQuantizedForwards() { return kForwards; }

}  // namespace lathe::engine
