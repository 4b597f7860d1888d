#include "worker/engine/graph/sparse.h"

#include <optional>

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

SparseShape ReadSparseShape(const Bytes& serialized) {
  const absl::StatusOr<SparseTensor> sparse = ReadSparse(serialized);
  if (!sparse.ok()) return {};
  return {sparse->values.dtype, sparse->dims};
}

}  // namespace lathe::engine
