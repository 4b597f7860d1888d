// Numbers of any type as integers that compare alike.
#ifndef LATHE_WORKER_ENGINE_OPS_FORWARD_ORDERED_KEY_H_
#define LATHE_WORKER_ENGINE_OPS_FORWARD_ORDERED_KEY_H_

#include <cstdint>
#include <cstring>
#include <limits>

#include "worker/engine/tensor/dtype.h"

namespace lathe::engine {

// Bits of a float of `bits` bits: both zeros are equal, NaN comes after everything. A total order,
// so that sorting is safe whatever the data.
inline uint64_t FloatKey(uint64_t raw, int bits, uint64_t infinity) {
  const uint64_t sign = uint64_t{1} << (bits - 1);
  const uint64_t magnitude = raw & (sign - 1);
  if (magnitude > infinity) return std::numeric_limits<uint64_t>::max();
  return (raw & sign) != 0 ? sign - magnitude : sign + magnitude;
}

// Key of the number of type `dtype` at `at`; 0 for types without an order.
inline uint64_t OrderedKey(DType dtype, const char* at) {
  const auto read = [at](auto number) {
    std::memcpy(&number, at, sizeof(number));
    return number;
  };
  const auto flipped = [](int64_t number) {
    return static_cast<uint64_t>(number) ^ (uint64_t{1} << 63);
  };
  switch (dtype) {
    case DType::kFloat:
      return FloatKey(read(uint32_t{}), 32, 0x7F800000);
    case DType::kDouble:
      return FloatKey(read(uint64_t{}), 64, 0x7FF0000000000000);
    case DType::kFloat16:
      return FloatKey(read(uint16_t{}), 16, 0x7C00);
    case DType::kBfloat16:
      return FloatKey(read(uint16_t{}), 16, 0x7F80);
    case DType::kInt8:
      return flipped(read(int8_t{}));
    case DType::kInt16:
      return flipped(read(int16_t{}));
    case DType::kInt32:
      return flipped(read(int32_t{}));
    case DType::kInt64:
      return flipped(read(int64_t{}));
    case DType::kUint8:
    case DType::kBool:
      return read(uint8_t{});
    case DType::kUint16:
      return read(uint16_t{});
    case DType::kUint32:
      return read(uint32_t{});
    case DType::kUint64:
      return read(uint64_t{});
    default:
      return 0;
  }
}

// Whether OrderedKey knows the type.
inline bool HasOrder(DType dtype) {
  switch (dtype) {
    case DType::kFloat:
    case DType::kDouble:
    case DType::kFloat16:
    case DType::kBfloat16:
    case DType::kInt8:
    case DType::kInt16:
    case DType::kInt32:
    case DType::kInt64:
    case DType::kUint8:
    case DType::kBool:
    case DType::kUint16:
    case DType::kUint32:
    case DType::kUint64:
      return true;
    default:
      return false;
  }
}

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_OPS_FORWARD_ORDERED_KEY_H_
