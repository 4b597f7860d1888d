#include "worker/engine/graph/sparse.h"

#include <cstring>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/checked.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "worker/engine/graph/external_data.h"
#include "worker/engine/graph/tensor_reader.h"
#include "worker/engine/graph/wire_reader.h"

namespace lathe::engine {

absl::StatusOr<SparseTensor> ReadSparse(const Bytes& serialized) {
  const WireSource wire{serialized.view(), "a sparse initializer"};
  ExternalData no_folder(std::nullopt);
  const TensorSource source{wire, nullptr, no_folder, /*mapped=*/false};
  const FieldPath path;
  WireReader reader(wire, wire.bytes, path);
  WireField field;
  SparseTensor sparse;
  while (reader.Next(field)) {
    if (field.number == 3) {
      RETURN_IF_ERROR(reader.ForEachVarint(field, "dims", [&](uint64_t dim) {
        if (sparse.dims.size() < limits::kMaxTensorRank) {
          sparse.dims.push_back(static_cast<int64_t>(dim));
        }
      }));
    }
    if (field.number != 1 && field.number != 2) continue;
    const absl::string_view part = field.number == 1 ? "values" : "indices";
    absl::string_view message;
    RETURN_IF_ERROR(reader.GetBytes(field, part, message));
    ASSIGN_OR_RETURN((field.number == 1 ? sparse.values : sparse.indices),
                     ReadTensor(source, message, FieldPath{&path, part, -1}));
  }
  RETURN_IF_ERROR(reader.status());
  return sparse;
}

absl::StatusOr<Tensor> Densify(const std::string& name, const Bytes& serialized) {
  ASSIGN_OR_RETURN(const SparseTensor sparse, ReadSparse(serialized));
  const auto refuse = [&name](const char* what) {
    return absl::InvalidArgumentError(absl::StrCat("sparse initializer '", name, "': ", what));
  };
  const std::optional<int64_t> elements = CheckedProduct(sparse.dims);
  const std::optional<int> bits = DTypeBits(sparse.values.dtype);
  if (!elements || *elements < 0) return refuse("its shape is impossible");
  if (!bits || *bits % 8 != 0) return refuse("elements of this type cannot be expanded");
  const int64_t width = *bits / 8;
  if (*elements > kMaxDenseBytes / width) return refuse("it is too large to be expanded");
  ASSIGN_OR_RETURN(const std::vector<int64_t> indices, sparse.indices.ToInt64s());
  const auto rank = static_cast<int64_t>(sparse.dims.size());
  const int64_t count = sparse.values.size();
  const bool flat = sparse.indices.dims.size() == 1;
  if (static_cast<int64_t>(indices.size()) != (flat ? count : count * rank)) {
    return refuse("its indices do not fit its values");
  }
  std::string data(static_cast<size_t>(*elements * width), '\0');
  for (int64_t i = 0; i < count; ++i) {
    int64_t at = flat ? indices[i] : 0;
    if (flat && (at < 0 || at >= *elements)) return refuse("an index is out of range");
    for (int64_t axis = 0; !flat && axis < rank; ++axis) {
      const int64_t index = indices[i * rank + axis];
      if (index < 0 || index >= sparse.dims[axis]) return refuse("an index is out of range");
      at = at * sparse.dims[axis] + index;
    }
    std::memcpy(data.data() + at * width, sparse.values.data.view().data() + i * width, width);
  }
  return Tensor::Make(name, sparse.values.dtype, sparse.dims, std::move(data));
}

SparseShape ReadSparseShape(const Bytes& serialized) {
  const absl::StatusOr<SparseTensor> sparse = ReadSparse(serialized);
  if (!sparse.ok()) return {};
  return {sparse->values.dtype, sparse->dims};
}

}  // namespace lathe::engine
