#include "worker/engine/data/convert.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "worker/engine/tensor/tensor.h"

namespace lathe::engine {
namespace {

constexpr int64_t kBlock = 1024;

template <typename T>
T Load(const char* in, int64_t i) {
  T value;
  std::memcpy(&value, in + i * static_cast<int64_t>(sizeof(T)), sizeof(T));
  return value;
}
template <typename T>
void Store(char* out, int64_t i, T value) {
  std::memcpy(out + i * static_cast<int64_t>(sizeof(T)), &value, sizeof(T));
}

// Calls fn(T()) for the C++ type of an integer dtype; booleans are bytes.
template <typename Fn>
void WithIntType(DType dtype, const Fn& fn) {
  switch (dtype) {
    case DType::kInt8:
      return fn(int8_t{});
    case DType::kInt16:
      return fn(int16_t{});
    case DType::kUint16:
      return fn(uint16_t{});
    case DType::kInt32:
      return fn(int32_t{});
    case DType::kUint32:
      return fn(uint32_t{});
    case DType::kInt64:
      return fn(int64_t{});
    case DType::kUint64:
      return fn(uint64_t{});
    default:
      return fn(uint8_t{});
  }
}

double LoadFloat(DType dtype, const char* in, int64_t i) {
  switch (dtype) {
    case DType::kDouble:
      return Load<double>(in, i);
    case DType::kFloat16:
      return HalfToFloat(Load<uint16_t>(in, i));
    case DType::kBfloat16:
      return Bfloat16ToFloat(Load<uint16_t>(in, i));
    default:
      return Load<float>(in, i);
  }
}

ConvertError CannotHold(int64_t index, absl::string_view value, DType to) {
  return {index, absl::StrCat("is ", value, ", which ", DTypeName(to), " cannot hold")};
}

ConvertError FromInts(const int64_t* in, int64_t count, DType to, char* out) {
  ConvertError error;
  WithIntType(to, [&](auto zero) {
    using T = decltype(zero);
    for (int64_t i = 0; i < count && error.ok(); ++i) {
      const bool fits = to == DType::kBool ? in[i] == 0 || in[i] == 1 : std::in_range<T>(in[i]);
      if (!fits) error = CannotHold(i, absl::StrCat(in[i]), to);
      Store(out, i, static_cast<T>(in[i]));
    }
  });
  return error;
}

ConvertError IntsToFloats(const int64_t* in, int64_t count, DType to, char* out) {
  for (int64_t i = 0; i < count; ++i) {
    const auto value = static_cast<double>(in[i]);
    if (const ConvertError error = FromDoubles(&value, 1, to, out + *DTypeBytes(to, i));
        !error.ok()) {
      return CannotHold(i, absl::StrCat(in[i]), to);
    }
    const double back = LoadFloat(to, out, i);
    // 2^63 as a double is no int64: the cast back would be undefined.
    if (!(back < 0x1p63) || static_cast<int64_t>(back) != in[i]) {
      return CannotHold(i, absl::StrCat(in[i]), to);
    }
  }
  return {};
}

}  // namespace

ConvertError ToInts(DType from, const char* in, int64_t count, int64_t* out) {
  ConvertError error;
  WithIntType(from, [&](auto zero) {
    using T = decltype(zero);
    for (int64_t i = 0; i < count && error.ok(); ++i) {
      const T value = Load<T>(in, i);
      if (!std::in_range<int64_t>(value)) {
        error = CannotHold(i, absl::StrCat(value), DType::kInt64);
      }
      out[i] = from == DType::kBool ? (value != 0 ? 1 : 0) : static_cast<int64_t>(value);
    }
  });
  return error;
}

void ToDoublesOrNan(DType from, const char* in, int64_t count, double* out) {
  if (IsInteger(from)) {
    WithIntType(from, [&](auto zero) {
      using T = decltype(zero);
      for (int64_t i = 0; i < count; ++i) out[i] = static_cast<double>(Load<T>(in, i));
    });
    return;
  }
  for (int64_t i = 0; i < count; ++i) out[i] = LoadFloat(from, in, i);
}

ConvertError ToDoubles(DType from, const char* in, int64_t count, double* out) {
  ToDoublesOrNan(from, in, count, out);
  for (int64_t i = 0; i < count; ++i) {
    if (std::isnan(out[i])) return {i, "is NaN"};
  }
  return {};
}

ConvertError FromDoubles(const double* in, int64_t count, DType to, char* out) {
  for (int64_t i = 0; i < count; ++i) {
    double back = in[i];
    if (to == DType::kDouble) {
      Store(out, i, in[i]);
    } else if (to == DType::kFloat) {
      const auto value = static_cast<float>(in[i]);
      Store(out, i, value);
      back = value;
    } else {
      const auto value = static_cast<float>(in[i]);
      const bool half = to == DType::kFloat16;
      const uint16_t bits = half ? FloatToHalf(value) : FloatToBfloat16(value);
      Store(out, i, bits);
      back = half ? HalfToFloat(bits) : Bfloat16ToFloat(bits);
    }
    if (std::isfinite(in[i]) && !std::isfinite(back)) return CannotHold(i, absl::StrCat(in[i]), to);
  }
  return {};
}

ConvertError Convert(DType from, const char* in, int64_t count, DType to, char* out) {
  if (from == to && !IsFloat(from) && from != DType::kBool) {
    std::memcpy(out, in, static_cast<size_t>(DTypeBytes(from, count).value_or(0)));
    return {};
  }
  double doubles[kBlock];
  int64_t ints[kBlock];
  for (int64_t at = 0; at < count; at += kBlock) {
    const int64_t n = std::min(kBlock, count - at);
    const char* const block_in = in + DTypeBytes(from, at).value_or(0);
    char* const block_out = out + DTypeBytes(to, at).value_or(0);
    ConvertError error;
    if (IsFloat(from)) {
      error = ToDoubles(from, block_in, n, doubles);
      if (error.ok()) error = FromDoubles(doubles, n, to, block_out);
    } else {
      error = ToInts(from, block_in, n, ints);
      if (error.ok()) {
        error =
            IsFloat(to) ? IntsToFloats(ints, n, to, block_out) : FromInts(ints, n, to, block_out);
      }
    }
    if (!error.ok()) {
      error.index += at;
      return error;
    }
  }
  return {};
}

}  // namespace lathe::engine
