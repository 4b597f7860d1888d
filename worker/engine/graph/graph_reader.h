// GraphProto and what hangs below it, to the IR.
#ifndef LATHE_WORKER_ENGINE_GRAPH_GRAPH_READER_H_
#define LATHE_WORKER_ENGINE_GRAPH_GRAPH_READER_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "worker/engine/graph/model.h"
#include "worker/engine/graph/tensor_reader.h"
#include "worker/engine/graph/wire_reader.h"

namespace lathe::engine {

// "" for "ai.onnx", which means the same.
std::string CanonicalDomain(std::string domain);

// Reads the graphs of one model and counts what it reads against common/limits.h.
class GraphReader {
 public:
  explicit GraphReader(const TensorSource& source) : source_(source) {}

  // `message` is a serialized GraphProto. `depth` is 0 for the main graph.
  absl::Status ReadGraph(absl::string_view message, const FieldPath& path, int depth, Graph& graph);
  // Reads one NodeProto and appends it to the graph.
  absl::Status ReadNode(absl::string_view message, const FieldPath& path, int depth, Graph& graph);

 private:
  absl::Status ReadAttribute(absl::string_view message, const FieldPath& path, int depth,
                             Graph& parent, Attribute& attribute);
  absl::Status ReadAttributeHeader(absl::string_view message, const FieldPath& path,
                                   Attribute& attribute);
  absl::Status ReadAttributeValue(const WireReader& reader, const WireField& field,
                                  const FieldPath& path, int depth, Graph& parent,
                                  Attribute& attribute);
  absl::Status ReadInitializer(absl::string_view message, const FieldPath& path, Graph& graph);
  absl::Status ReadSparseInitializer(absl::string_view message, const FieldPath& path,
                                     Graph& graph);
  absl::Status ReadValueInfo(absl::string_view message, const FieldPath& path, ValueInfo& info);
  absl::StatusOr<Tensor> ReadCountedTensor(absl::string_view message, const FieldPath& path);

  const TensorSource& source_;
  int64_t nodes_ = 0;
  int64_t tensors_ = 0;
  int64_t value_infos_ = 0;
};

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_GRAPH_GRAPH_READER_H_
