#include "worker/engine/ops/forward/value_read.h"

#include <cmath>
#include <cstring>
#include <limits>

namespace lathe::engine {
namespace {

// Elements of values that runs make, unlike constants, are read anew every time.
constexpr int64_t kMaxReals = 64;

template <typename T>
T At(const Value& value, int64_t i) {
  T element;
  std::memcpy(&element, value.data + i * static_cast<int64_t>(sizeof(T)), sizeof(T));
  return element;
}

// Element `i` of `bits` bits, low ones first; `is_signed`: two's complement.
int64_t SubByte(const Value& value, int64_t i, int bits, bool is_signed) {
  const int64_t bit = i * bits;
  const auto byte = static_cast<uint8_t>(value.data[bit / 8]);
  const int64_t raw = (byte >> (bit % 8)) & ((1 << bits) - 1);
  return is_signed && raw >= (1 << (bits - 1)) ? raw - (1 << bits) : raw;
}

bool IsWholeType(DType dtype) {
  switch (dtype) {
    case DType::kUint8:
    case DType::kInt8:
    case DType::kUint16:
    case DType::kInt16:
    case DType::kInt32:
    case DType::kInt64:
    case DType::kBool:
    case DType::kUint32:
    case DType::kUint64:
    case DType::kUint4:
    case DType::kInt4:
    case DType::kUint2:
    case DType::kInt2:
      return true;
    default:
      return false;
  }
}

// sign, exponent and mantissa of a small float; `fn`: no infinity, all ones are NaN; `uz`: no
// negative zero, its code is NaN, and the bias is one more.
float SmallFloat(uint8_t bits, int total, int mantissa_bits, bool fn, bool uz) {
  const int exponent_bits = total - 1 - mantissa_bits;
  const int bias = (1 << (exponent_bits - 1)) - 1 + (uz ? 1 : 0);
  const bool negative = ((bits >> (total - 1)) & 1) != 0;
  const int exponent = (bits >> mantissa_bits) & ((1 << exponent_bits) - 1);
  const int mantissa = bits & ((1 << mantissa_bits) - 1);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  if (uz && negative && exponent == 0 && mantissa == 0) return nan;
  const bool top = exponent == (1 << exponent_bits) - 1;
  if (fn && !uz && top && mantissa == (1 << mantissa_bits) - 1) return nan;
  if (!fn && !uz && top) {
    if (mantissa != 0) return nan;
    const float inf = std::numeric_limits<float>::infinity();
    return negative ? -inf : inf;
  }
  const float fraction = static_cast<float>(mantissa) / static_cast<float>(1 << mantissa_bits);
  const float magnitude =
      exponent == 0 ? std::ldexp(fraction, 1 - bias) : std::ldexp(1 + fraction, exponent - bias);
  return negative ? -magnitude : magnitude;
}

// FLOAT4E2M1: +-{0, 0.5, 1, 1.5, 2, 3, 4, 6}.
float Float4ToFloat(int64_t code) {
  constexpr float kValues[] = {0, 0.5F, 1, 1.5F, 2, 3, 4, 6};
  const float magnitude = kValues[code & 7];
  return (code & 8) != 0 ? -magnitude : magnitude;
}

}  // namespace

float Float8ToFloat(uint8_t bits, DType dtype) {
  switch (dtype) {
    case DType::kFloat8E4M3FN:
      return SmallFloat(bits, 8, 3, true, false);
    case DType::kFloat8E4M3FNUZ:
      return SmallFloat(bits, 8, 3, true, true);
    case DType::kFloat8E5M2:
      return SmallFloat(bits, 8, 2, false, false);
    case DType::kFloat8E5M2FNUZ:
      return SmallFloat(bits, 8, 2, false, true);
    case DType::kFloat8E8M0:
      return bits == 255 ? std::numeric_limits<float>::quiet_NaN() : std::ldexp(1.0F, bits - 127);
    default:
      return std::numeric_limits<float>::quiet_NaN();
  }
}

int64_t ReadInteger(const Value& value, int64_t i) {
  switch (value.dtype) {
    case DType::kUint8:
    case DType::kBool:
      return At<uint8_t>(value, i);
    case DType::kInt8:
      return At<int8_t>(value, i);
    case DType::kUint16:
      return At<uint16_t>(value, i);
    case DType::kInt16:
      return At<int16_t>(value, i);
    case DType::kInt32:
      return At<int32_t>(value, i);
    case DType::kUint32:
      return At<uint32_t>(value, i);
    case DType::kInt64:
      return At<int64_t>(value, i);
    case DType::kUint64:
      return static_cast<int64_t>(At<uint64_t>(value, i));
    case DType::kUint4:
      return SubByte(value, i, 4, false);
    case DType::kInt4:
      return SubByte(value, i, 4, true);
    case DType::kUint2:
      return SubByte(value, i, 2, false);
    case DType::kInt2:
      return SubByte(value, i, 2, true);
    default:
      return 0;
  }
}

double ReadNumber(const Value& value, int64_t i) {
  if (IsWholeType(value.dtype)) {
    if (value.dtype == DType::kUint64) return static_cast<double>(At<uint64_t>(value, i));
    return static_cast<double>(ReadInteger(value, i));
  }
  switch (value.dtype) {
    case DType::kFloat:
      return At<float>(value, i);
    case DType::kDouble:
      return At<double>(value, i);
    case DType::kFloat16:
      return HalfToFloat(At<uint16_t>(value, i));
    case DType::kBfloat16:
      return Bfloat16ToFloat(At<uint16_t>(value, i));
    case DType::kFloat8E4M3FN:
    case DType::kFloat8E4M3FNUZ:
    case DType::kFloat8E5M2:
    case DType::kFloat8E5M2FNUZ:
    case DType::kFloat8E8M0:
      return Float8ToFloat(At<uint8_t>(value, i), value.dtype);
    case DType::kFloat4E2M1:
      return Float4ToFloat(SubByte(value, i, 4, false));
    default:
      return std::numeric_limits<double>::quiet_NaN();
  }
}

std::optional<std::vector<int64_t>> ReadInts(const Value& value) {
  if (!value.IsTensor() || !IsWholeType(value.dtype)) return std::nullopt;
  std::vector<int64_t> out(static_cast<size_t>(value.size()));
  for (size_t i = 0; i < out.size(); ++i) out[i] = ReadInteger(value, static_cast<int64_t>(i));
  return out;
}

std::optional<double> ReadFirst(const Value& value) {
  if (!value.IsTensor() || value.size() < 1 || value.dtype == DType::kString) return std::nullopt;
  return ReadNumber(value, 0);
}

ValueFact FactOfValue(const Value& value) {
  ValueFact fact;
  fact.dtype = value.dtype;
  if (!value.IsTensor()) return fact;
  fact.ranked = true;
  fact.dims = value.dims;
  const int64_t size = value.size();
  if (value.layout != Layout::kPlain) return fact;
  if (IsWholeType(value.dtype) && size <= kMaxFoldedElements) {
    fact.ints = *ReadInts(value);
    fact.known = true;
  } else if (IsFloat(value.dtype) && size <= kMaxReals) {
    for (int64_t i = 0; i < size; ++i) fact.reals.push_back(ReadNumber(value, i));
    fact.known = true;
  }
  return fact;
}

}  // namespace lathe::engine
