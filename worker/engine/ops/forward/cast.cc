// Cast between any two types: the input is widened to a type of C++, converted, and narrowed again.
// What ONNX leaves undefined (a float that does not fit an integer) is what x86-64 does: the least
// integer of 32 or 64 bits, cut to the target's width.
#include <cmath>
#include <cstring>
#include <limits>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/engine/kernels/small_float.h"
#include "worker/engine/kernels/sub_byte.h"
#include "worker/engine/ops/forward/cast_text.h"
#include "worker/engine/ops/forward/elementwise.h"
#include "worker/engine/ops/forward/forward.h"
#include "worker/engine/ops/forward/value_read.h"

namespace lathe::engine {
namespace {

// How float8 targets are made.
struct Rounding {
  bool saturate = true;
  std::string mode = "up";  // of float8e8m0
};

int SubByteBits(DType dtype) {
  const int bits = DTypeBits(dtype).value_or(8);
  return bits < 8 ? bits : 0;
}

bool IsSignedSubByte(DType dtype) { return dtype == DType::kInt4 || dtype == DType::kInt2; }

// The type of C++ that stands for `dtype` between the conversions: the same for those of C++
// itself; kUndefined when there is none.
DType WideType(DType dtype) {
  switch (dtype) {
    case DType::kFloat16:
    case DType::kBfloat16:
    case DType::kFloat8E4M3FN:
    case DType::kFloat8E4M3FNUZ:
    case DType::kFloat8E5M2:
    case DType::kFloat8E5M2FNUZ:
    case DType::kFloat8E8M0:
    case DType::kFloat4E2M1:
      return DType::kFloat;
    case DType::kInt4:
    case DType::kInt2:
      return DType::kInt8;
    case DType::kUint4:
    case DType::kUint2:
    case DType::kBool:
      return DType::kUint8;
    case DType::kUndefined:
    case DType::kString:
    case DType::kComplex64:
    case DType::kComplex128:
      return DType::kUndefined;
    default:
      return DTypeBits(dtype) ? dtype : DType::kUndefined;
  }
}

template <class To, class From>
To Truncated(From value) {
  // In [-2^(bits - 1), 2^(bits - 1)); NaN is not.
  constexpr auto kEnd = static_cast<From>(uint64_t{1} << (sizeof(To) * 8 - 1));
  return value >= -kEnd && value < kEnd ? static_cast<To>(value) : std::numeric_limits<To>::min();
}

template <class To, class From>
To ConvertNumber(From value) {
  if constexpr (std::is_integral_v<To> && std::is_floating_point_v<From>) {
    if constexpr (std::is_same_v<To, uint64_t>) {
      constexpr From kHalf = static_cast<From>(uint64_t{1} << 63);
      if (value >= kHalf && value < 2 * kHalf) return static_cast<uint64_t>(value);
      return static_cast<uint64_t>(Truncated<int64_t>(value));
    } else if constexpr (sizeof(To) == 8 || std::is_same_v<To, uint32_t>) {
      return static_cast<To>(Truncated<int64_t>(value));
    } else {
      return static_cast<To>(Truncated<int32_t>(value));
    }
  } else {
    return static_cast<To>(value);
  }
}

float SmallToFloat(uint8_t code, DType dtype) {
  constexpr float kFourBits[] = {0, 0.5F, 1, 1.5F, 2, 3, 4, 6};
  if (dtype != DType::kFloat4E2M1) return Float8ToFloat(code, dtype);
  return (code & 8) != 0 ? -kFourBits[code & 7] : kFourBits[code & 7];
}

// The power of two for a magnitude: the exponent's code, as onnx.numpy_helper makes it.
uint8_t FloatToE8M0(float value, const Rounding& rounding) {
  uint32_t bits = 0;
  std::memcpy(&bits, &value, sizeof(bits));
  const uint32_t exponent = (bits >> 23) & 0xFF;
  const uint32_t fraction = bits & 0x7FFFFF;
  if (exponent == 0xFF) return fraction == 0 && rounding.saturate ? 0xFE : 0xFF;
  bool up = false;
  if (rounding.mode == "up") up = fraction != 0;
  if (rounding.mode == "nearest") {
    up = fraction > 0x400000 || (fraction == 0x400000 && exponent > 0);
  }
  if (up && exponent == 0xFE && rounding.saturate) up = false;
  return static_cast<uint8_t>(exponent + (up ? 1 : 0));
}

// Of the types of FloatToSmall and float8e8m0. Cast makes -0 of a NaN where float4e2m1 has none, as
// ONNX's own cases do.
uint8_t SmallCode(float value, DType to, const Rounding& rounding) {
  if (to == DType::kFloat8E8M0) return FloatToE8M0(value, rounding);
  if (to == DType::kFloat4E2M1 && std::isnan(value)) return 0x08;
  return FloatToSmall(value, to, rounding.saturate);
}

// `in` as a tensor of WideType(in.dtype).
absl::StatusOr<Value> Widen(RunContext& ctx, const Value& in) {
  const DType wide = WideType(in.dtype);
  if (wide == in.dtype) return in;
  Value out;
  out.kind = Value::Kind::kTensor;
  out.dtype = wide;
  out.dims = in.dims;
  ASSIGN_OR_RETURN(out.buffer, ctx.Scratch(out.bytes()));
  out.data = out.buffer->data();
  const int64_t count = in.size();
  if (in.dtype == DType::kFloat16 || in.dtype == DType::kBfloat16) {
    const auto from = in.As<uint16_t>();
    const auto to = out.Mutable<float>();
    const bool half = in.dtype == DType::kFloat16;
    for (size_t i = 0; i < to.size(); ++i) {
      to[i] = half ? HalfToFloat(from[i]) : Bfloat16ToFloat(from[i]);
    }
    return out;
  }
  if (in.dtype == DType::kBool) {
    const auto from = in.As<uint8_t>();
    const auto to = out.Mutable<uint8_t>();
    for (size_t i = 0; i < to.size(); ++i) to[i] = from[i] != 0;
    return out;
  }
  const auto* codes = reinterpret_cast<const uint8_t*>(in.data);
  const int bits = SubByteBits(in.dtype);
  if (wide != DType::kFloat) {
    UnpackBits(codes, count, bits, IsSignedSubByte(in.dtype), out.Mutable<uint8_t>().data());
    return out;
  }
  std::shared_ptr<Buffer> unpacked;
  if (bits != 0) {
    ASSIGN_OR_RETURN(unpacked, ctx.Scratch(count));
    auto* bytes = reinterpret_cast<uint8_t*>(unpacked->data());
    UnpackBits(codes, count, bits, false, bytes);
    codes = bytes;
  }
  const auto to = out.Mutable<float>();
  for (size_t i = 0; i < to.size(); ++i) to[i] = SmallToFloat(codes[i], in.dtype);
  return out;
}

// Elements of WideType(to) as elements of `to`, into output 0.
absl::Status Narrow(RunContext& ctx, const Value& wide, DType to, const Rounding& rounding) {
  ASSIGN_OR_RETURN(Value * out, ctx.Out(0, to, wide.dims));
  const int64_t count = wide.size();
  const int bits = SubByteBits(to);
  auto* bytes = reinterpret_cast<uint8_t*>(out->buffer->data());
  if (wide.dtype != DType::kFloat) {
    PackBits(reinterpret_cast<const uint8_t*>(wide.data), count, bits, bytes);
    return absl::OkStatus();
  }
  const auto from = wide.As<float>();
  if (to == DType::kFloat16 || to == DType::kBfloat16) {
    const auto narrow = out->Mutable<uint16_t>();
    const bool half = to == DType::kFloat16;
    for (size_t i = 0; i < from.size(); ++i) {
      narrow[i] = half ? FloatToHalf(from[i]) : FloatToBfloat16(from[i]);
    }
    return absl::OkStatus();
  }
  std::shared_ptr<Buffer> codes;
  if (bits != 0) {
    ASSIGN_OR_RETURN(codes, ctx.Scratch(count));
  }
  auto* code = codes == nullptr ? bytes : reinterpret_cast<uint8_t*>(codes->data());
  for (size_t i = 0; i < from.size(); ++i) code[i] = SmallCode(from[i], to, rounding);
  if (bits != 0) PackBits(code, count, bits, bytes);
  return absl::OkStatus();
}

template <class From>
absl::Status ConvertFrom(const RunContext& ctx, const Value& from, DType to, char* data) {
  const auto in = from.As<From>();
  if (to == DType::kBool) {
    auto* out = reinterpret_cast<uint8_t*>(data);
    for (size_t i = 0; i < in.size(); ++i) out[i] = in[i] != From(0);
    return absl::OkStatus();
  }
  return VisitNumber(ctx, to, [&](auto zero) {
    using To = decltype(zero);
    auto* out = reinterpret_cast<To*>(data);
    for (size_t i = 0; i < in.size(); ++i) out[i] = ConvertNumber<To>(in[i]);
    return absl::OkStatus();
  });
}

absl::Status CastNumbers(RunContext& ctx, DType to, const Rounding& rounding) {
  const Value& in = ctx.In(0);
  ASSIGN_OR_RETURN(const Value from, Widen(ctx, in));
  const DType wide = to == DType::kBool ? to : WideType(to);
  const auto convert = [&](char* data) {
    return VisitNumber(ctx, from.dtype, [&](auto zero) {
      return ConvertFrom<decltype(zero)>(ctx, from, wide, data);
    });
  };
  if (wide == to) {
    ASSIGN_OR_RETURN(Value * out, ctx.Out(0, to, in.dims));
    return convert(out->buffer->data());
  }
  if (wide == from.dtype) return Narrow(ctx, from, to, rounding);
  Value converted;
  converted.kind = Value::Kind::kTensor;
  converted.dtype = wide;
  converted.dims = in.dims;
  ASSIGN_OR_RETURN(converted.buffer, ctx.Scratch(converted.bytes()));
  converted.data = converted.buffer->data();
  RETURN_IF_ERROR(convert(converted.buffer->data()));
  return Narrow(ctx, converted, to, rounding);
}

absl::Status CastTo(RunContext& ctx, DType to) {
  const Value& in = ctx.In(0);
  const bool from_text = in.dtype == DType::kString;
  const bool to_text = to == DType::kString;
  if (in.dtype == to) {
    ctx.Set(0, in);
    return absl::OkStatus();
  }
  const bool known = (from_text || WideType(in.dtype) != DType::kUndefined) &&
                     (to_text || WideType(to) != DType::kUndefined);
  if (!known) {
    return ctx.Error(absl::StrCat("there is no cast to ", std::string(DTypeName(to)), " (",
                                  static_cast<int32_t>(to), ")"));
  }
  if (to_text) {
    RETURN_IF_ERROR(CheckStringCount(ctx, in.size()));
    ASSIGN_OR_RETURN(const Value from, Widen(ctx, in));
    ctx.Set(0, Value::FromStrings(in.dims, NumbersToText(from)));
    return absl::OkStatus();
  }
  Rounding rounding;
  rounding.saturate = ctx.node().IntAttribute("saturate", 1) != 0;
  rounding.mode = ctx.node().StringAttribute("round_mode", "up");
  if (rounding.mode != "up" && rounding.mode != "down" && rounding.mode != "nearest") {
    return ctx.Error(
        absl::StrCat("round_mode must be up, down or nearest, not '", rounding.mode, "'"));
  }
  if (!from_text) return CastNumbers(ctx, to, rounding);
  const DType wide = to == DType::kBool ? DType::kUint8 : WideType(to);
  ASSIGN_OR_RETURN(Value * direct, ctx.Out(0, wide, in.dims));
  RETURN_IF_ERROR(TextToNumbers(ctx, *in.strings, to, *direct));
  if (wide == to) return absl::OkStatus();
  if (to == DType::kBool) {
    direct->dtype = DType::kBool;
    return absl::OkStatus();
  }
  const Value converted = *direct;
  return Narrow(ctx, converted, to, rounding);
}

// The attribute `to`; kUndefined for what is no type.
DType Target(const RunContext& ctx) {
  const int64_t to = ctx.node().IntAttribute("to", 0);
  return to == static_cast<int32_t>(to) ? static_cast<DType>(to) : DType::kUndefined;
}

absl::Status Cast(RunContext& ctx) {
  RETURN_IF_ERROR(CheckTensors(ctx, 1));
  return CastTo(ctx, Target(ctx));
}

absl::Status CastLike(RunContext& ctx) {
  RETURN_IF_ERROR(CheckTensors(ctx, 2));
  return CastTo(ctx, ctx.In(1).dtype);
}

// The same bits under another type.
absl::Status BitCast(RunContext& ctx) {
  RETURN_IF_ERROR(CheckTensors(ctx, 1));
  const DType to = Target(ctx);
  const auto bits = DTypeBits(to);
  if (!bits || bits != DTypeBits(ctx.In(0).dtype)) {
    return ctx.Error(
        absl::StrCat("it needs a type as wide as the input's, not ", std::string(DTypeName(to))));
  }
  Value out = ctx.In(0);
  out.dtype = to;
  ctx.Set(0, std::move(out));
  return absl::OkStatus();
}

constexpr OpForward kForwards[] = {
    {"", "BitCast", BitCast},
    {"", "Cast", Cast},
    {"", "CastLike", CastLike},
};

}  // namespace

std::span<const OpForward> CastForwards() { return kForwards; }

}  // namespace lathe::engine
