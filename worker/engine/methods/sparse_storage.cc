#include "worker/engine/methods/sparse_storage.h"

#include <onnx/onnx_pb.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "absl/strings/string_view.h"

namespace lathe::engine {
namespace {

constexpr int64_t kMaxSerializedBytes = int64_t{1} << 30;

// Minus zero is a zero: its sign is not worth twelve bytes.
bool IsZero(absl::string_view element) {
  for (size_t i = 0; i + 1 < element.size(); ++i) {
    if (element[i] != 0) return false;
  }
  return (static_cast<unsigned char>(element.back()) & 0x7f) == 0;
}

int64_t DenseSerializedBytes(const Tensor& tensor) {
  onnx::TensorProto header;
  header.set_name(tensor.name);
  header.set_data_type(static_cast<int32_t>(tensor.dtype));
  for (const int64_t extent : tensor.dims) header.add_dims(extent);
  return static_cast<int64_t>(header.ByteSizeLong()) + tensor.byte_size();
}

}  // namespace

std::optional<std::string> SerializeSparseIfSmaller(const Tensor& tensor) {
  const int64_t elements = tensor.size();
  if (elements == 0 || !IsFloat(tensor.dtype)) return std::nullopt;
  const size_t width = static_cast<size_t>(tensor.byte_size() / elements);
  const absl::string_view dense = tensor.data.view();

  int64_t kept = 0;
  for (int64_t i = 0; i < elements; ++i) {
    if (!IsZero(dense.substr(static_cast<size_t>(i) * width, width))) ++kept;
  }
  const int64_t payload = kept * static_cast<int64_t>(width + sizeof(int64_t));
  if (payload >= tensor.byte_size() || payload > kMaxSerializedBytes) return std::nullopt;

  std::string values;
  values.reserve(static_cast<size_t>(kept) * width);
  std::string positions;
  positions.reserve(static_cast<size_t>(kept) * sizeof(int64_t));
  for (int64_t i = 0; i < elements; ++i) {
    const absl::string_view element = dense.substr(static_cast<size_t>(i) * width, width);
    if (IsZero(element)) continue;
    values.append(element.data(), element.size());
    char position[sizeof(i)];
    std::memcpy(position, &i, sizeof(i));
    positions.append(position, sizeof(position));
  }
  onnx::SparseTensorProto sparse;
  for (const int64_t extent : tensor.dims) sparse.add_dims(extent);
  sparse.mutable_values()->set_name(tensor.name);
  sparse.mutable_values()->set_data_type(static_cast<int32_t>(tensor.dtype));
  sparse.mutable_values()->add_dims(kept);
  sparse.mutable_values()->set_raw_data(std::move(values));
  sparse.mutable_indices()->set_data_type(static_cast<int32_t>(DType::kInt64));
  sparse.mutable_indices()->add_dims(kept);
  sparse.mutable_indices()->set_raw_data(std::move(positions));
  if (static_cast<int64_t>(sparse.ByteSizeLong()) >= DenseSerializedBytes(tensor)) {
    return std::nullopt;
  }
  return sparse.SerializeAsString();
}

}  // namespace lathe::engine
