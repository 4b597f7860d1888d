#include "worker/engine/tensor/tensor.h"

#include <sys/mman.h>
#include <unistd.h>

#include <bit>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/checked.h"

namespace lathe::engine {
namespace {

static_assert(std::endian::native == std::endian::little,
              "Tensor bytes are little-endian; a big-endian port must swap them");

// Elements are read with memcpy: bytes that lie in a mapped file may have any alignment.
template <typename T>
T Load(const char* bytes, int64_t index) {
  T value;
  std::memcpy(&value, bytes + index * static_cast<int64_t>(sizeof(T)), sizeof(T));
  return value;
}

template <typename T, typename Out, typename Convert>
void ConvertAll(absl::string_view bytes, std::vector<Out>& out, const Convert& convert) {
  const int64_t count = static_cast<int64_t>(bytes.size() / sizeof(T));
  out.resize(count);
  for (int64_t i = 0; i < count; ++i) out[i] = convert(Load<T>(bytes.data(), i));
}

absl::Status WrongType(const Tensor& tensor, absl::string_view wanted) {
  return absl::FailedPreconditionError(absl::StrCat("tensor '", tensor.name, "': elements of type ",
                                                    DTypeName(tensor.dtype), " cannot be read as ",
                                                    wanted));
}

template <typename T>
Tensor MakeOrDie(std::string name, DType dtype, Shape dims, std::span<const T> values) {
  std::string data(reinterpret_cast<const char*>(values.data()), values.size_bytes());
  absl::StatusOr<Tensor> tensor =
      Tensor::Make(std::move(name), dtype, std::move(dims), std::move(data));
  if (!tensor.ok()) {
    std::fprintf(stderr, "%s\n", tensor.status().ToString().c_str());
    std::abort();
  }
  return *std::move(tensor);
}

}  // namespace

Bytes Bytes::Own(std::string data) {
  auto owner = std::make_shared<const std::string>(std::move(data));
  Bytes bytes;
  bytes.view_ = *owner;
  bytes.keep_alive_ = std::move(owner);
  return bytes;
}

Bytes Bytes::Borrow(absl::string_view data, std::shared_ptr<const void> keep_alive) {
  Bytes bytes;
  bytes.view_ = data;
  bytes.keep_alive_ = std::move(keep_alive);
  bytes.borrowed_ = true;
  return bytes;
}

Bytes Bytes::Map(absl::string_view data, std::shared_ptr<const void> keep_alive) {
  Bytes bytes = Borrow(data, std::move(keep_alive));
  bytes.mapped_ = true;
  return bytes;
}

void Bytes::DropPages(int64_t begin_byte, int64_t count) const {
  if (!mapped_) return;
  // Whole pages only: the outer ones may hold something else.
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<uintptr_t>(view_.data() + begin_byte);
  const uintptr_t first = (begin + page - 1) / page * page;
  const uintptr_t last = (begin + static_cast<uintptr_t>(count)) / page * page;
  if (first < last) madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
}

absl::StatusOr<Tensor> Tensor::Make(std::string name, DType dtype, Shape dims, std::string data) {
  const std::optional<int64_t> count = CheckedProduct(dims);
  const std::optional<int64_t> bytes = count.has_value() ? DTypeBytes(dtype, *count) : std::nullopt;
  if (!bytes.has_value()) {
    return absl::InvalidArgumentError(absl::StrCat("tensor '", name, "': type ", DTypeName(dtype),
                                                   " with dims [", absl::StrJoin(dims, ","),
                                                   "] has no size in bytes (a negative dimension, "
                                                   "an overflow, or a type without a fixed size)"));
  }
  if (*bytes != static_cast<int64_t>(data.size())) {
    return absl::InvalidArgumentError(
        absl::StrCat("tensor '", name, "': type ", DTypeName(dtype), " with dims [",
                     absl::StrJoin(dims, ","), "] takes ", *bytes, " bytes, got ", data.size()));
  }
  Tensor tensor;
  tensor.name = std::move(name);
  tensor.dtype = dtype;
  tensor.dims = std::move(dims);
  tensor.data = Bytes::Own(std::move(data));
  return tensor;
}

Tensor Tensor::FromFloats(std::string name, Shape dims, std::span<const float> values) {
  return MakeOrDie(std::move(name), DType::kFloat, std::move(dims), values);
}

Tensor Tensor::FromInt64s(std::string name, Shape dims, std::span<const int64_t> values) {
  return MakeOrDie(std::move(name), DType::kInt64, std::move(dims), values);
}

int64_t Tensor::size() const { return CheckedProduct(dims).value_or(0); }

absl::StatusOr<std::vector<float>> Tensor::ToFloats() const {
  std::vector<float> out;
  const absl::string_view bytes = data.view();
  switch (dtype) {
    case DType::kFloat:
      out.resize(bytes.size() / sizeof(float));
      if (!out.empty()) std::memcpy(out.data(), bytes.data(), out.size() * sizeof(float));
      return out;
    case DType::kDouble:
      // What float32 cannot hold becomes an infinity: both formats are IEC 559.
      static_assert(std::numeric_limits<float>::is_iec559);
      ConvertAll<double>(bytes, out, [](double value) { return static_cast<float>(value); });
      return out;
    case DType::kFloat16:
      ConvertAll<uint16_t>(bytes, out, HalfToFloat);
      return out;
    case DType::kBfloat16:
      ConvertAll<uint16_t>(bytes, out, Bfloat16ToFloat);
      return out;
    default:
      return WrongType(*this, "floats (float32, float64, float16, bfloat16)");
  }
}

absl::StatusOr<std::vector<int64_t>> Tensor::ToInt64s() const {
  std::vector<int64_t> out;
  const absl::string_view bytes = data.view();
  const auto widen = [](auto value) { return static_cast<int64_t>(value); };
  switch (dtype) {
    case DType::kInt64:
      ConvertAll<int64_t>(bytes, out, widen);
      return out;
    case DType::kInt32:
      ConvertAll<int32_t>(bytes, out, widen);
      return out;
    case DType::kInt8:
      ConvertAll<int8_t>(bytes, out, widen);
      return out;
    case DType::kUint8:
    case DType::kBool:
      ConvertAll<uint8_t>(bytes, out, widen);
      return out;
    default:
      return WrongType(*this, "integers (int64, int32, int8, uint8, bool)");
  }
}

std::span<const float> Tensor::FloatView() const {
  const absl::string_view bytes = data.view();
  if (dtype != DType::kFloat || bytes.empty() ||
      reinterpret_cast<uintptr_t>(bytes.data()) % alignof(float) != 0) {
    return {};
  }
  return {reinterpret_cast<const float*>(bytes.data()), bytes.size() / sizeof(float)};
}

uint16_t FloatToHalf(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const auto sign = static_cast<uint16_t>((bits >> 16) & 0x8000);
  const uint32_t magnitude = bits & 0x7FFFFFFF;
  if (magnitude > 0x7F800000) {
    // NaN: keep the top of the payload, and keep it a (quiet) NaN when that part is zero.
    return static_cast<uint16_t>(sign | 0x7E00 | ((magnitude >> 13) & 0x3FF));
  }
  // 65520 lies half-way between 65504, the largest half, and 65536; it rounds to even: infinity.
  if (magnitude >= 0x477FF000) return static_cast<uint16_t>(sign | 0x7C00);
  if (magnitude < 0x38800000) {
    // Below 2^-14: a subnormal half, a multiple of 2^-24. Adding 0.5 (ulp 2^-24) makes the float
    // unit round it to even.
    const float rounded = std::bit_cast<float>(magnitude) + 0.5f;
    return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(rounded) - 0x3F000000));
  }
  // Normal: drop 13 bits to nearest even, then rebias the exponent (127 to 15). A carry moves into
  // the exponent, as it should.
  const uint32_t rounded = magnitude + 0xFFF + ((magnitude >> 13) & 1);
  return static_cast<uint16_t>(sign | ((rounded - 0x38000000) >> 13));
}

float HalfToFloat(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000) << 16;
  const uint32_t exponent = (half >> 10) & 0x1F;
  const uint32_t mantissa = half & 0x3FF;
  if (exponent == 0x1F) return std::bit_cast<float>(sign | 0x7F800000 | (mantissa << 13));
  if (exponent == 0) {
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24f;
    return std::bit_cast<float>(sign | std::bit_cast<uint32_t>(magnitude));
  }
  return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
}

uint16_t FloatToBfloat16(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7FFFFFFF) > 0x7F800000) return static_cast<uint16_t>((bits >> 16) | 0x40);
  return static_cast<uint16_t>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
}

float Bfloat16ToFloat(uint16_t bits) {
  return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
}

}  // namespace lathe::engine
