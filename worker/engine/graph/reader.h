// Reads ONNX files into the IR.
//
// The file is mapped, and a walk over the protobuf wire format cuts out the raw_data of large tensors, which become views into the
// map; the rest (the skeleton) is parsed by libprotobuf with libonnx's message classes. So reading costs little memory, weights
// stay where they are until a method replaces them, and a broken file is reported with the field and the byte offset.
#ifndef LATHE_WORKER_ENGINE_GRAPH_READER_H_
#define LATHE_WORKER_ENGINE_GRAPH_READER_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "worker/engine/graph/model.h"

namespace lathe::engine {

// Reads `folder`/`main_file`. External data is mapped from files below `folder`.
// INVALID_ARGUMENT: not an ONNX protobuf (truncated, wrong wire types, nesting or counts past common/limits.h, no graph), a tensor
// whose size overflows or disagrees with its data, external data that is missing, too short, or leaves the folder ("..", an
// absolute path, a symbolic link). Messages name field path, byte offset, tensor.
// NOT_FOUND: the main file does not exist.
absl::StatusOr<Model> ReadModel(const std::string& folder, const std::string& main_file);

// The same from memory (for tests and fuzzing): `bytes` is copied; external data is refused unless `folder` is given.
absl::StatusOr<Model> ReadModelFromBytes(absl::string_view bytes, const std::string& folder = "");

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_GRAPH_READER_H_
