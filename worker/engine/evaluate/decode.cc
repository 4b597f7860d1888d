#include "worker/engine/evaluate/decode.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "common/checked.h"
#include "common/status_macros.h"
#include "worker/engine/graph/sparse.h"
#include "worker/engine/ops/op_context.h"
#include "worker/engine/ops/value_fact.h"

namespace lathe::engine {
namespace {

// Decoded at a time, where the whole need not be.
constexpr int64_t kPieceElements = int64_t{256} << 10;

template <typename T, typename Fn>
void Convert(const char* in, int64_t count, std::vector<float>& out, Fn&& fn) {
  for (int64_t i = 0; i < count; ++i) {
    T value;
    std::memcpy(&value, in + i * static_cast<int64_t>(sizeof(T)), sizeof(T));
    out[static_cast<size_t>(i)] = fn(value);
  }
}

template <typename T>
void Plain(const char* in, int64_t count, std::vector<float>& out) {
  Convert<T>(in, count, out, [](T value) { return static_cast<float>(value); });
}

void Packed(absl::string_view bytes, int64_t begin, int64_t count, int bits, bool is_signed,
            std::vector<float>& out) {
  const int top = 1 << (bits - 1);
  for (int64_t i = 0; i < count; ++i) {
    int value = UnpackBits(bytes, begin + i, bits);
    if (is_signed && value >= top) value -= 2 * top;
    out[static_cast<size_t>(i)] = static_cast<float>(value);
  }
}

}  // namespace

int UnpackBits(absl::string_view bytes, int64_t index, int bits) {
  const int64_t at = index * bits;
  const auto byte = static_cast<size_t>(at / 8);
  int word = static_cast<unsigned char>(bytes[byte]);
  if (byte + 1 < bytes.size()) word |= static_cast<unsigned char>(bytes[byte + 1]) << 8;
  return (word >> (at % 8)) & ((1 << bits) - 1);
}

absl::StatusOr<std::vector<float>> DecodeElements(const Tensor& tensor, int64_t begin,
                                                  int64_t count) {
  if (begin < 0 || count < 0 || begin > tensor.size() - count) {
    return absl::InternalError(absl::StrCat("elements ", begin, " to ", begin + count, " of '",
                                            tensor.name, "', which has ", tensor.size()));
  }
  std::vector<float> out(static_cast<size_t>(count));
  const absl::string_view bytes = tensor.data.view();
  const int64_t width = DTypeBits(tensor.dtype).value_or(0);
  const char* in = bytes.data() + begin * width / 8;
  switch (tensor.dtype) {
    case DType::kFloat:
      if (count > 0) std::memcpy(out.data(), in, static_cast<size_t>(count) * sizeof(float));
      break;
    case DType::kDouble:
      Plain<double>(in, count, out);
      break;
    case DType::kFloat16:
      Convert<uint16_t>(in, count, out, HalfToFloat);
      break;
    case DType::kBfloat16:
      Convert<uint16_t>(in, count, out, Bfloat16ToFloat);
      break;
    case DType::kInt8:
      Plain<int8_t>(in, count, out);
      break;
    case DType::kUint8:
    case DType::kBool:
      Plain<uint8_t>(in, count, out);
      break;
    case DType::kInt16:
      Plain<int16_t>(in, count, out);
      break;
    case DType::kUint16:
      Plain<uint16_t>(in, count, out);
      break;
    case DType::kInt32:
      Plain<int32_t>(in, count, out);
      break;
    case DType::kUint32:
      Plain<uint32_t>(in, count, out);
      break;
    case DType::kInt64:
      Plain<int64_t>(in, count, out);
      break;
    case DType::kUint64:
      Plain<uint64_t>(in, count, out);
      break;
    case DType::kInt4:
    case DType::kUint4:
      Packed(bytes, begin, count, 4, tensor.dtype == DType::kInt4, out);
      break;
    case DType::kInt2:
    case DType::kUint2:
      Packed(bytes, begin, count, 2, tensor.dtype == DType::kInt2, out);
      break;
    default:
      return absl::UnimplementedError(absl::StrCat("the type of '", tensor.name, "', ",
                                                   DTypeName(tensor.dtype), ", is not decoded"));
  }
  return out;
}

absl::StatusOr<DenseValues> DecodeSparse(const Bytes& serialized) {
  ASSIGN_OR_RETURN(const SparseTensor sparse, ReadSparse(serialized));
  DenseValues dense;
  dense.dims = sparse.dims;
  if (!IsPlausible(dense.dims)) {
    return absl::InvalidArgumentError("a sparse initializer has an impossible shape");
  }
  const int64_t elements = *CheckedProduct(dense.dims);
  const int64_t count = sparse.values.size();
  // Flat positions [count], or coordinates [count, rank].
  const size_t rank = sparse.indices.dims.size() == 2 ? dense.dims.size() : 1;
  if (sparse.indices.size() != SaturatingMul(count, static_cast<int64_t>(rank))) {
    return absl::InvalidArgumentError(
        "a sparse initializer has another number of indices than of values");
  }
  if (sparse.indices.dtype != DType::kInt64) {
    return absl::InvalidArgumentError("a sparse initializer has indices that are not int64");
  }
  const char* indices = sparse.indices.data.view().data();
  const std::vector<int64_t> strides = Strides(dense.dims);
  dense.values.assign(static_cast<size_t>(elements), 0.0f);
  for (int64_t begin = 0; begin < count; begin += kPieceElements) {
    const int64_t end = std::min(count, begin + kPieceElements);
    ASSIGN_OR_RETURN(const std::vector<float> values,
                     DecodeElements(sparse.values, begin, end - begin));
    for (const float value : values) {
      int64_t at = 0;
      for (size_t d = 0; d < rank; ++d, indices += sizeof(int64_t)) {
        int64_t index;
        std::memcpy(&index, indices, sizeof(index));
        if (index < 0 || index > kMaxElements) at = elements;
        at = SaturatingAdd(at, SaturatingMul(index, rank == 1 ? 1 : strides[d]));
      }
      if (at < 0 || at >= elements) {
        return absl::InvalidArgumentError("a sparse initializer has an index outside its shape");
      }
      dense.values[static_cast<size_t>(at)] = value;
    }
  }
  return dense;
}

}  // namespace lathe::engine
