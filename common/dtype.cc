#include "common/dtype.h"

#include <array>

#include "common/checked.h"

namespace lathe {
namespace {

struct DTypeRow {
  const char* name;
  int bits;  // 0: no fixed size in raw_data
};

// Indexed by the ONNX number.
constexpr std::array<DTypeRow, 27> kRows = {{
    {"undefined", 0},      {"float32", 32},     {"uint8", 8},          {"int8", 8},
    {"uint16", 16},        {"int16", 16},       {"int32", 32},         {"int64", 64},
    {"string", 0},         {"bool", 8},         {"float16", 16},       {"float64", 64},
    {"uint32", 32},        {"uint64", 64},      {"complex64", 64},     {"complex128", 128},
    {"bfloat16", 16},      {"float8e4m3fn", 8}, {"float8e4m3fnuz", 8}, {"float8e5m2", 8},
    {"float8e5m2fnuz", 8}, {"uint4", 4},        {"int4", 4},           {"float4e2m1", 4},
    {"float8e8m0", 8},     {"uint2", 2},        {"int2", 2},
}};

const DTypeRow* Find(DType dtype) {
  const auto index = static_cast<int32_t>(dtype);
  if (index < 0 || index >= static_cast<int32_t>(kRows.size())) return nullptr;
  return &kRows[index];
}

}  // namespace

absl::string_view DTypeName(DType dtype) {
  const DTypeRow* row = Find(dtype);
  return row == nullptr ? "unknown" : row->name;
}

std::optional<int> DTypeBits(DType dtype) {
  const DTypeRow* row = Find(dtype);
  if (row == nullptr || row->bits == 0) return std::nullopt;
  return row->bits;
}

std::optional<int64_t> DTypeBytes(DType dtype, int64_t count) {
  const std::optional<int> bits = DTypeBits(dtype);
  if (!bits.has_value() || count < 0) return std::nullopt;
  if (*bits >= 8) return CheckedMul(count, *bits / 8);
  // Packed: count / per_byte rounded up, written so that it cannot overflow.
  const int64_t per_byte = 8 / *bits;
  return count / per_byte + (count % per_byte != 0 ? 1 : 0);
}

bool IsFloat(DType dtype) {
  return dtype == DType::kFloat || dtype == DType::kDouble || dtype == DType::kFloat16 ||
         dtype == DType::kBfloat16;
}

bool IsInteger(DType dtype) {
  switch (dtype) {
    case DType::kBool:
    case DType::kInt8:
    case DType::kUint8:
    case DType::kInt16:
    case DType::kUint16:
    case DType::kInt32:
    case DType::kUint32:
    case DType::kInt64:
    case DType::kUint64:
      return true;
    default:
      return false;
  }
}

bool IsConvertible(DType from, DType to) {
  return (IsInteger(from) && (IsInteger(to) || IsFloat(to))) || (IsFloat(from) && IsFloat(to));
}

}  // namespace lathe
