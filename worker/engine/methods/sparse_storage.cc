#include "worker/engine/methods/sparse_storage.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/string_view.h"
#include "worker/engine/graph/wire_buffer.h"

namespace lathe::engine {
namespace {

constexpr int64_t kMaxSerializedBytes = int64_t{1} << 30;

// Minus zero is a zero: its sign is not worth twelve bytes.
template <typename T>
bool IsZero(T bits) {
  return static_cast<T>(bits << 1) == 0;
}

// Calls fn(index, element) for what is not zero. T: the unsigned type of an element's width.
template <typename T, typename Fn>
void ForEachNonzero(absl::string_view dense, Fn&& fn) {
  const auto elements = static_cast<int64_t>(dense.size() / sizeof(T));
  for (int64_t i = 0; i < elements; ++i) {
    T element;
    std::memcpy(&element, dense.data() + i * static_cast<int64_t>(sizeof(T)), sizeof(T));
    if (!IsZero(element)) fn(i, element);
  }
}

template <typename T>
void Append(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

// The fields of a TensorProto before its elements.
WireBuffer Header(const Tensor& tensor, DType dtype, const Shape& dims) {
  WireBuffer header;
  for (const int64_t extent : dims) header.AddInt(1, extent);
  header.AddInt(2, static_cast<int32_t>(dtype));
  header.AddString(8, tensor.name);
  return header;
}

// Fields 1 and 2 of a SparseTensorProto, up to where the elements come: `count` of `width` bytes.
void BeginPart(uint32_t field, const WireBuffer& header, int64_t bytes, std::string& out) {
  WireBuffer part;
  part.AddStart(field, header.SizeWithPayload(9, bytes));
  header.ForEachPiece([&part](absl::string_view piece) {
    part.AddFields(piece);
    return true;
  });
  part.AddStart(9, bytes);
  part.ForEachPiece([&out](absl::string_view piece) {
    out.append(piece.data(), piece.size());
    return true;
  });
}

template <typename T>
std::optional<std::string> Serialize(const Tensor& tensor) {
  const absl::string_view dense = tensor.data.view();
  int64_t kept = 0;
  ForEachNonzero<T>(dense, [&kept](int64_t, T) { ++kept; });
  const int64_t value_bytes = kept * static_cast<int64_t>(sizeof(T));
  const int64_t index_bytes = kept * static_cast<int64_t>(sizeof(int64_t));
  if (value_bytes + index_bytes >= tensor.byte_size() ||
      value_bytes + index_bytes > kMaxSerializedBytes) {
    return std::nullopt;
  }
  // One string of the right size: the parts are never beside the whole in memory.
  std::string out;
  out.reserve(static_cast<size_t>(value_bytes + index_bytes) + tensor.name.size() + 256 +
              10 * tensor.dims.size());
  BeginPart(1, Header(tensor, tensor.dtype, {kept}), value_bytes, out);
  ForEachNonzero<T>(dense, [&out](int64_t, T element) { Append(out, element); });
  WireBuffer indices;
  indices.AddInt(1, kept);
  indices.AddInt(2, static_cast<int32_t>(DType::kInt64));
  BeginPart(2, indices, index_bytes, out);
  ForEachNonzero<T>(dense, [&out](int64_t index, T) { Append(out, index); });
  WireBuffer dims;
  for (const int64_t extent : tensor.dims) dims.AddInt(3, extent);
  dims.ForEachPiece([&out](absl::string_view piece) {
    out.append(piece.data(), piece.size());
    return true;
  });
  const int64_t dense_bytes = Header(tensor, tensor.dtype, tensor.dims).size() + tensor.byte_size();
  if (static_cast<int64_t>(out.size()) >= dense_bytes) return std::nullopt;
  return out;
}

}  // namespace

std::optional<std::string> SerializeSparseIfSmaller(const Tensor& tensor) {
  if (tensor.size() == 0 || !IsFloat(tensor.dtype)) return std::nullopt;
  switch (tensor.byte_size() / tensor.size()) {
    case 2:
      return Serialize<uint16_t>(tensor);
    case 4:
      return Serialize<uint32_t>(tensor);
    case 8:
      return Serialize<uint64_t>(tensor);
    default:
      return std::nullopt;
  }
}

}  // namespace lathe::engine
