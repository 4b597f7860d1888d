// TensorProto to Tensor: whatever field the elements are in, they come out as raw little-endian
// bytes.
#ifndef LATHE_WORKER_ENGINE_GRAPH_TENSOR_READER_H_
#define LATHE_WORKER_ENGINE_GRAPH_TENSOR_READER_H_

#include <memory>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "worker/engine/graph/external_data.h"
#include "worker/engine/graph/wire_reader.h"
#include "worker/engine/tensor/tensor.h"

namespace lathe::engine {

struct TensorSource {
  const WireSource& wire;
  // Holds wire.bytes.
  const std::shared_ptr<const void>& keep_alive;
  ExternalData& external;
  // keep_alive is a mapped file.
  bool mapped = false;

  Bytes Borrow(absl::string_view bytes) const {
    return mapped ? Bytes::Map(bytes, keep_alive) : Bytes::Borrow(bytes, keep_alive);
  }
};

// `message` is a serialized TensorProto inside source.wire.bytes. raw_data, a single packed
// float_data or double_data, and external data are borrowed; other typed fields are converted.
// INVALID_ARGUMENT: dims that are negative, too many or overflow, data that disagrees with them or
// lies in a field that does not belong to the type. Tensors of unknown type keep their raw_data as
// `data` and their typed fields in `extra`, unchecked.
absl::StatusOr<Tensor> ReadTensor(const TensorSource& source, absl::string_view message,
                                  const FieldPath& path);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_GRAPH_TENSOR_READER_H_
