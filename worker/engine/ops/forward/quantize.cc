// QuantizeLinear, DequantizeLinear and DynamicQuantizeLinear, of ai.onnx and com.microsoft.
//
//   quantize     y = saturate(round(x / y_scale) + y_zero_point)
//   dequantize   y = (x - x_zero_point) x_scale
//
// As ONNX Runtime computes it: in float32, also for float16 and bfloat16 tensors; the division is
// rounded to a narrower type only where `precision` asks for it, or where the scale is narrower
// than x.
#include <array>
#include <cstring>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/engine/kernels/dynamic_range.h"
#include "worker/engine/kernels/linear_rounding.h"
#include "worker/engine/kernels/small_float.h"
#include "worker/engine/kernels/sub_byte.h"
#include "worker/engine/ops/forward/forward.h"
#include "worker/engine/ops/forward/granularity.h"
#include "worker/engine/ops/forward/run_node.h"
#include "worker/engine/ops/forward/tensors_only.h"
#include "worker/engine/ops/forward/value_read.h"

namespace lathe::engine {
namespace {

// Types of less than a byte, whose elements are a byte each while they are worked on.
struct SubByte {
  int bits = 0;  // 0: not such a type
  bool is_signed = false;
};
SubByte SubByteOf(DType dtype) {
  switch (dtype) {
    case DType::kUint4:
    case DType::kFloat4E2M1:
      return {4, false};
    case DType::kInt4:
      return {4, true};
    case DType::kUint2:
      return {2, false};
    case DType::kInt2:
      return {2, true};
    default:
      return {};
  }
}

// A float's value to the precision of `dtype`.
float RoundTo(DType dtype, float value) {
  if (dtype == DType::kFloat16) return HalfToFloat(FloatToHalf(value));
  if (dtype == DType::kBfloat16) return Bfloat16ToFloat(FloatToBfloat16(value));
  return value;
}

// Input 0 of QuantizeLinear as float32.
absl::StatusOr<Value> RealInput(RunContext& ctx) {
  const Value& x = ctx.In(0);
  switch (x.dtype) {
    case DType::kFloat:
    case DType::kFloat16:
    case DType::kBfloat16:
    case DType::kDouble:
      return ConvertFloat(x, DType::kFloat, ctx.memory());
    case DType::kInt32: {
      Value out = x;
      ASSIGN_OR_RETURN(out.buffer, ctx.Scratch(x.bytes()));
      out.data = out.buffer->data();
      out.dtype = DType::kFloat;
      const std::span<const int32_t> from = x.As<int32_t>();
      std::copy(from.begin(), from.end(), out.Mutable<float>().begin());
      return out;
    }
    default:
      return ctx.Error("x must be float32, float16, bfloat16 or int32");
  }
}

template <typename T>
void QuantizeAll(const Granularity& granularity, const float* x, const float* scales,
                 const float* zeros, IntegerRange range, T* out) {
  granularity.ForEach(
      [&](int64_t begin, int64_t count, int64_t s) {
        QuantizeRun(x + begin, count, scales[s], zeros[s], range, out + begin);
      },
      [&](int64_t begin, int64_t count, int64_t s) {
        QuantizeEach(x + begin, count, scales + s, zeros + s, range, out + begin);
      });
}

// Calls fn(element, scale) for every element.
template <typename Fn>
void ForEachElement(const Granularity& granularity, Fn fn) {
  granularity.ForEach(
      [&](int64_t begin, int64_t count, int64_t s) {
        for (int64_t i = 0; i < count; ++i) fn(begin + i, s);
      },
      [&](int64_t begin, int64_t count, int64_t s) {
        for (int64_t i = 0; i < count; ++i) fn(begin + i, s + i);
      });
}

// x / scale, each step rounded to `precision`.
absl::Status DivideIn(DType precision, const Granularity& granularity, RunContext& ctx, Value& x,
                      std::vector<float>& scales) {
  Value quotients = x;
  ASSIGN_OR_RETURN(quotients.buffer, ctx.Scratch(x.bytes()));
  quotients.data = quotients.buffer->data();
  const float* from = x.As<float>().data();
  float* to = quotients.Mutable<float>().data();
  for (float& scale : scales) scale = RoundTo(precision, scale);
  ForEachElement(granularity, [&](int64_t i, int64_t s) {
    to[i] = RoundTo(precision, RoundTo(precision, from[i]) / scales[s]);
  });
  scales.assign(scales.size(), 1.0F);
  x = std::move(quotients);
  return absl::OkStatus();
}

absl::Status QuantizeLinear(RunContext& ctx) {
  ASSIGN_OR_RETURN(const Granularity granularity, ReadGranularity(ctx));
  ASSIGN_OR_RETURN(const ValueFact* fact, ctx.Inferred(0));
  const DType dtype = fact->dtype;
  if (ctx.Has(2) && ctx.In(2).dtype != dtype) {
    return ctx.Error("output_dtype must be the type of the zero point");
  }
  const DType x_dtype = ctx.In(0).dtype;
  const DType scale_dtype = ctx.In(1).dtype;
  ASSIGN_OR_RETURN(Value x, RealInput(ctx));
  std::vector<float> scales = ReadFloats(ctx.In(1));
  std::vector<float> zeros =
      ctx.Has(2) ? ReadFloats(ctx.In(2)) : std::vector<float>(scales.size(), 0.0F);
  auto precision = static_cast<DType>(ctx.node().IntAttribute("precision", 0));
  if (precision == DType::kUndefined && scale_dtype != x_dtype) precision = scale_dtype;
  if (precision == DType::kFloat16 || precision == DType::kBfloat16) {
    RETURN_IF_ERROR(DivideIn(precision, granularity, ctx, x, scales));
  }
  ASSIGN_OR_RETURN(Value* const y, ctx.Out(0));
  const float* from = x.As<float>().data();
  const int64_t count = x.size();
  switch (dtype) {
    case DType::kUint8:
      QuantizeAll(granularity, from, scales.data(), zeros.data(), RangeOf<uint8_t>(),
                  y->Mutable<uint8_t>().data());
      return absl::OkStatus();
    case DType::kInt8:
      QuantizeAll(granularity, from, scales.data(), zeros.data(), RangeOf<int8_t>(),
                  y->Mutable<int8_t>().data());
      return absl::OkStatus();
    case DType::kUint16:
      QuantizeAll(granularity, from, scales.data(), zeros.data(), RangeOf<uint16_t>(),
                  y->Mutable<uint16_t>().data());
      return absl::OkStatus();
    case DType::kInt16:
      QuantizeAll(granularity, from, scales.data(), zeros.data(), RangeOf<int16_t>(),
                  y->Mutable<int16_t>().data());
      return absl::OkStatus();
    default:
      break;
  }
  const SubByte sub_byte = SubByteOf(dtype);
  if (sub_byte.bits == 0 && !IsSmallFloat(dtype)) {
    return ctx.Error(absl::StrCat("it does not quantize to ", DTypeName(dtype)));
  }
  auto* const packed = reinterpret_cast<uint8_t*>(y->buffer->data());
  std::shared_ptr<Buffer> bytes = y->buffer;
  if (sub_byte.bits != 0) {
    ASSIGN_OR_RETURN(bytes, ctx.Scratch(count));
  }
  auto* const out = reinterpret_cast<uint8_t*>(bytes->data());
  if (IsSmallFloat(dtype)) {
    const bool saturate = ctx.node().IntAttribute("saturate", 1) != 0;
    ForEachElement(granularity, [&](int64_t i, int64_t s) {
      const float quotient = from[i] / scales[s];
      // Adding 0 would lose the sign of -0.
      const float shifted = zeros[s] == 0 ? quotient : quotient + zeros[s];
      out[i] = FloatToSmall(shifted, dtype, saturate);
    });
  } else if (sub_byte.is_signed) {
    const auto half = static_cast<float>(1 << (sub_byte.bits - 1));
    QuantizeAll(granularity, from, scales.data(), zeros.data(), {-half, half - 1},
                reinterpret_cast<int8_t*>(out));
  } else {
    const auto all = static_cast<float>((1 << sub_byte.bits) - 1);
    QuantizeAll(granularity, from, scales.data(), zeros.data(), {0, all}, out);
  }
  if (sub_byte.bits != 0) PackBits(out, count, sub_byte.bits, packed);
  return absl::OkStatus();
}

template <typename T>
void DequantizeAll(const Granularity& granularity, const void* q, const float* scales,
                   const float* zeros, float* out) {
  const T* from = static_cast<const T*>(q);
  granularity.ForEach(
      [&](int64_t begin, int64_t count, int64_t s) {
        DequantizeRun(from + begin, count, scales[s], zeros[s], out + begin);
      },
      [&](int64_t begin, int64_t count, int64_t s) {
        DequantizeEach(from + begin, count, scales + s, zeros + s, out + begin);
      });
}

// 8- and 4-bit floats, by a table of what their codes mean. `q` holds a code a byte.
void DequantizeSmallFloats(const Granularity& granularity, DType dtype, const uint8_t* q,
                           const std::vector<float>& scales, const std::vector<float>& zeros,
                           float* out) {
  std::array<float, 256> meaning{};
  for (int code = 0; code < 256; ++code) {
    const auto byte = static_cast<uint8_t>(code);
    const Value one = Value::Borrow(dtype, {1}, &byte);
    meaning[static_cast<size_t>(code)] = static_cast<float>(ReadNumber(one, 0));
  }
  ForEachElement(granularity,
                 [&](int64_t i, int64_t s) { out[i] = (meaning[q[i]] - zeros[s]) * scales[s]; });
}

absl::Status DequantizeLinear(RunContext& ctx) {
  ASSIGN_OR_RETURN(const Granularity granularity, ReadGranularity(ctx));
  ASSIGN_OR_RETURN(const ValueFact* fact, ctx.Inferred(0));
  const Value& x = ctx.In(0);
  const DType dtype = x.dtype;
  if (ctx.Has(2) && ctx.In(2).dtype != dtype) {
    return ctx.Error("the zero point must be of the input's type");
  }
  if (!IsFloat(fact->dtype) || fact->dtype == DType::kDouble) {
    return ctx.Error(absl::StrCat("it does not dequantize to ", DTypeName(fact->dtype)));
  }
  const std::vector<float> scales = ReadFloats(ctx.In(1));
  const std::vector<float> zeros =
      ctx.Has(2) ? ReadFloats(ctx.In(2)) : std::vector<float>(scales.size(), 0.0F);
  Value real;
  if (fact->dtype == DType::kFloat) {
    ASSIGN_OR_RETURN(Value* const y, ctx.Out(0));
    real = *y;
  } else {
    real.kind = Value::Kind::kTensor;
    real.dtype = DType::kFloat;
    real.dims = x.dims;
    ASSIGN_OR_RETURN(real.buffer, ctx.Scratch(ValueBytes(DType::kFloat, x.dims, Layout::kPlain)));
    real.data = real.buffer->data();
  }
  float* const out = real.Mutable<float>().data();
  const void* q = x.data;
  std::shared_ptr<Buffer> bytes;
  const SubByte sub_byte = SubByteOf(dtype);
  if (sub_byte.bits != 0) {
    ASSIGN_OR_RETURN(bytes, ctx.Scratch(x.size()));
    UnpackBits(reinterpret_cast<const uint8_t*>(x.data), x.size(), sub_byte.bits,
               sub_byte.is_signed, reinterpret_cast<uint8_t*>(bytes->data()));
    q = bytes->data();
  }
  if (IsSmallFloat(dtype)) {
    DequantizeSmallFloats(granularity, dtype, static_cast<const uint8_t*>(q), scales, zeros, out);
  } else if (dtype == DType::kUint16) {
    DequantizeAll<uint16_t>(granularity, q, scales.data(), zeros.data(), out);
  } else if (dtype == DType::kInt16) {
    DequantizeAll<int16_t>(granularity, q, scales.data(), zeros.data(), out);
  } else if (dtype == DType::kInt32) {
    // Exact differences: zero points of 32 bits are no floats.
    const std::span<const int32_t> from = x.As<int32_t>();
    const int32_t* const zero = ctx.Has(2) ? ctx.Data<int32_t>(2).data() : nullptr;
    ForEachElement(granularity, [&](int64_t i, int64_t s) {
      const int64_t centred = int64_t{from[i]} - (zero == nullptr ? 0 : zero[s]);
      out[i] = static_cast<float>(centred) * scales[s];
    });
  } else if (dtype == DType::kInt8 || (sub_byte.bits != 0 && sub_byte.is_signed)) {
    DequantizeAll<int8_t>(granularity, q, scales.data(), zeros.data(), out);
  } else if (dtype == DType::kUint8 || sub_byte.bits != 0) {
    DequantizeAll<uint8_t>(granularity, q, scales.data(), zeros.data(), out);
  } else {
    return ctx.Error(absl::StrCat("it does not dequantize ", DTypeName(dtype)));
  }
  if (fact->dtype == DType::kFloat) return absl::OkStatus();
  ASSIGN_OR_RETURN(Value narrow, ConvertFloat(real, fact->dtype, ctx.memory()));
  ctx.Set(0, std::move(narrow));
  return absl::OkStatus();
}

absl::Status DynamicQuantizeLinear(RunContext& ctx) {
  if (ctx.In(0).dtype != DType::kFloat) return ctx.Error("x must be float32");
  const std::span<const float> x = ctx.Data<float>(0);
  const auto count = static_cast<int64_t>(x.size());
  const DynamicRange range = FindDynamicRange(x.data(), count);
  ASSIGN_OR_RETURN(Value* const y, ctx.Out(0));
  QuantizeRun(x.data(), count, range.scale, static_cast<float>(range.zero_point),
              RangeOf<uint8_t>(), y->Mutable<uint8_t>().data());
  if (ctx.output_count() > 1) {
    ASSIGN_OR_RETURN(Value* const scale, ctx.Out(1));
    scale->Mutable<float>()[0] = range.scale;
  }
  if (ctx.output_count() > 2) {
    ASSIGN_OR_RETURN(Value* const zero, ctx.Out(2));
    zero->Mutable<uint8_t>()[0] = range.zero_point;
  }
  return absl::OkStatus();
}

constexpr OpForward kForwards[] = {
    {"", "DequantizeLinear", OnTensors<DequantizeLinear>},
    {"", "DynamicQuantizeLinear", OnTensors<DynamicQuantizeLinear>},
    {"", "QuantizeLinear", OnTensors<QuantizeLinear>},
    {"com.microsoft", "DequantizeLinear", OnTensors<DequantizeLinear>},
    {"com.microsoft", "QuantizeLinear", OnTensors<QuantizeLinear>},
};

}  // namespace

std::span<const OpForward> QuantizeForwards() { return kForwards; }

}  // namespace lathe::engine
