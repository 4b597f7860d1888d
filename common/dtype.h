// Element types, numbered as in ONNX's TensorProto.DataType (the newest list; Debian's libonnx
// knows fewer).
#ifndef LATHE_COMMON_DTYPE_H_
#define LATHE_COMMON_DTYPE_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/strings/string_view.h"

namespace lathe {

// Any int32 may occur in a file; values not named here are carried through untouched.
enum class DType : int32_t {
  kUndefined = 0,
  kFloat = 1,
  kUint8 = 2,
  kInt8 = 3,
  kUint16 = 4,
  kInt16 = 5,
  kInt32 = 6,
  kInt64 = 7,
  kString = 8,
  kBool = 9,
  kFloat16 = 10,
  kDouble = 11,
  kUint32 = 12,
  kUint64 = 13,
  kComplex64 = 14,
  kComplex128 = 15,
  kBfloat16 = 16,
  kFloat8E4M3FN = 17,
  kFloat8E4M3FNUZ = 18,
  kFloat8E5M2 = 19,
  kFloat8E5M2FNUZ = 20,
  kUint4 = 21,
  kInt4 = 22,
  kFloat4E2M1 = 23,
  kFloat8E8M0 = 24,
  kUint2 = 25,
  kInt2 = 26,
};

// Extents of a tensor, outermost first; empty: a single number.
using Shape = std::vector<int64_t>;

// "float32", "int4", ...; "dtype(99)" is spelled by the caller for unknown ones: this gives
// "unknown".
absl::string_view DTypeName(DType dtype);
// Bits an element takes in raw_data; nullopt for strings and unknown types.
std::optional<int> DTypeBits(DType dtype);
// Bytes of `count` elements in raw_data (sub-byte types are packed, the last byte padded); nullopt
// on overflow or for strings and unknown types.
std::optional<int64_t> DTypeBytes(DType dtype, int64_t count);
// float32, float64, float16, bfloat16.
bool IsFloat(DType dtype);
// Integers of 8 to 64 bits, and booleans.
bool IsInteger(DType dtype);
// Whether some values of the one type can be given as the other without loss: from one type to
// itself, integers and booleans to anything, floats to floats. Whether all can is seen when they
// are.
bool IsConvertible(DType from, DType to);

}  // namespace lathe

#endif  // LATHE_COMMON_DTYPE_H_
