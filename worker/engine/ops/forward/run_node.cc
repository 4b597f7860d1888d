#include "worker/engine/ops/forward/run_node.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/engine/graph/scopes.h"
#include "worker/engine/kernels/transpose.h"

namespace lathe::engine {
namespace {

template <typename From, typename To, typename Convert>
void ConvertAll(const Value& in, Value& out, Convert convert) {
  const std::span<const From> from = in.As<From>();
  const std::span<To> to = out.Mutable<To>();
  for (size_t i = 0; i < from.size(); ++i) to[i] = convert(from[i]);
}

absl::StatusOr<Value> Empty(DType dtype, const Shape& dims, ActivationMemory& memory) {
  const int64_t bytes = ValueBytes(dtype, dims, Layout::kPlain);
  if (bytes < 0) return absl::InvalidArgumentError("an impossible shape");
  Value out;
  out.kind = Value::Kind::kTensor;
  out.dtype = dtype;
  out.dims = dims;
  ASSIGN_OR_RETURN(out.buffer, memory.Allocate(bytes));
  out.data = out.buffer->data();
  return out;
}

void ToFloat32(const Value& in, Value& out) {
  switch (in.dtype) {
    case DType::kFloat16:
      return ConvertAll<uint16_t, float>(in, out, HalfToFloat);
    case DType::kBfloat16:
      return ConvertAll<uint16_t, float>(in, out, Bfloat16ToFloat);
    default:
      return ConvertAll<double, float>(in, out, [](double v) { return static_cast<float>(v); });
  }
}

void FromFloat32(const Value& in, Value& out) {
  switch (out.dtype) {
    case DType::kFloat16:
      return ConvertAll<float, uint16_t>(in, out, FloatToHalf);
    case DType::kBfloat16:
      return ConvertAll<float, uint16_t>(in, out, FloatToBfloat16);
    default:
      return ConvertAll<float, double>(in, out, [](float v) { return static_cast<double>(v); });
  }
}

bool IsConverted(DType dtype, unsigned flags) {
  if (dtype == DType::kDouble) return (flags & kTakesDouble) == 0;
  return dtype == DType::kFloat16 || dtype == DType::kBfloat16;
}

}  // namespace

absl::StatusOr<Value> ConvertFloat(const Value& value, DType to, ActivationMemory& memory) {
  if (value.dtype == to) return value;
  if (value.dtype == DType::kFloat) {
    ASSIGN_OR_RETURN(Value out, Empty(to, value.dims, memory));
    FromFloat32(value, out);
    return out;
  }
  ASSIGN_OR_RETURN(Value single, Empty(DType::kFloat, value.dims, memory));
  ToFloat32(value, single);
  return ConvertFloat(single, to, memory);
}

absl::StatusOr<Value> ToPlain(const Value& value, ActivationMemory& memory) {
  if (value.layout == Layout::kPlain) return value;
  ASSIGN_OR_RETURN(Value out, Empty(value.dtype, value.dims, memory));
  const int64_t block = LayoutBlock(value.layout);
  const int64_t batch = value.dims[0];
  const int64_t channels = value.dims[1];
  const int64_t blocks = (channels + block - 1) / block;
  int64_t pixels = 1;
  for (size_t i = 2; i < value.dims.size(); ++i) pixels *= value.dims[i];
  const auto* from = reinterpret_cast<const float*>(value.data);
  float* to = out.Mutable<float>().data();
  for (int64_t n = 0; n < batch; ++n) {
    for (int64_t b = 0; b < blocks; ++b) {
      const int64_t live = std::min(block, channels - b * block);
      const float* tile = from + (n * blocks + b) * pixels * block;
      float* rows = to + (n * channels + b * block) * pixels;
      TransposeFloats(pixels, live, tile, block, rows, pixels);
    }
  }
  return out;
}

absl::Status RunNode(const OpForward& forward, NodeCall& call) {
  const unsigned flags = forward.flags;
  // Type that float32 outputs are given: that of the first input of floats, where it was converted.
  DType narrow = DType::kUndefined;
  bool decided = false;
  // Facts of constants that are converted: of the type that the operator then sees.
  std::vector<ValueFact> facts;
  std::vector<const ValueFact*> constants;
  for (size_t i = 0; i < call.inputs.size(); ++i) {
    Value& in = call.inputs[i];
    if (!in.IsTensor()) continue;
    if (in.layout != Layout::kPlain && (flags & kTakesBlocked) == 0) {
      ASSIGN_OR_RETURN(in, ToPlain(in, *call.memory));
    }
    if ((flags & kComputesInFloat) == 0) continue;
    const bool converted = IsConverted(in.dtype, flags);
    if (!decided && IsFloat(in.dtype)) {
      decided = true;
      if (converted) narrow = in.dtype;
    }
    if (!converted) continue;
    ASSIGN_OR_RETURN(in, ConvertFloat(in, DType::kFloat, *call.memory));
    if (call.constants[i] == nullptr) continue;
    if (constants.empty()) {
      constants.assign(call.constants.begin(), call.constants.end());
      facts.reserve(call.inputs.size());
      call.constants = constants;
    }
    facts.push_back(*constants[i]);
    facts.back().dtype = DType::kFloat;
    constants[i] = &facts.back();
  }
  RunContext ctx(call);
  RETURN_IF_ERROR(forward.run(ctx));
  for (size_t i = 0; i < call.outputs.size(); ++i) {
    Value& out = call.outputs[i];
    if (out.kind == Value::Kind::kNone) {
      if (!ctx.Wants(i)) continue;
      return ctx.Unsupported(absl::StrCat("output ", i, " is not computed"));
    }
    if (narrow != DType::kUndefined && out.IsTensor() && out.dtype == DType::kFloat) {
      ASSIGN_OR_RETURN(out, ConvertFloat(out, narrow, *call.memory));
    }
  }
  return absl::OkStatus();
}

}  // namespace lathe::engine
