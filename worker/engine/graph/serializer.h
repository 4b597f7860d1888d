// The IR as ONNX protobuf messages.
#ifndef LATHE_WORKER_ENGINE_GRAPH_SERIALIZER_H_
#define LATHE_WORKER_ENGINE_GRAPH_SERIALIZER_H_

#include <cstdint>
#include <string>
#include <unordered_map>

#include "worker/engine/graph/model.h"
#include "worker/engine/graph/wire_buffer.h"

namespace lathe::engine {

// Which tensors lie in a data file, and where.
struct ExternalPlacement {
  std::string location;                                // as it is written into the model
  std::unordered_map<const Tensor*, int64_t> offsets;  // in bytes
};

// A ModelProto; tensor data is referenced, so `model` must outlive the result. Fields stand in a
// fixed order; nodes, inputs and outputs keep theirs, initializers and value_infos are sorted by
// name.
WireBuffer ModelToWire(const Model& model, const ExternalPlacement& placement);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_GRAPH_SERIALIZER_H_
