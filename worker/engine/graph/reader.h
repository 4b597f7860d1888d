// Reads ONNX files into the IR.
//
// The file is mapped and taken apart along the protobuf wire format (wire_reader.h): tensor data
// become views into the map, fields that the IR models are converted, all others are kept as the
// bytes they are. Only leaves (types, opset imports) go through libonnx's message classes. So
// reading costs little memory, weights stay where they are until a method replaces them, files past
// protobuf's 2 GiB can be read, and a broken file is reported with the field and the byte offset.
//
// Beyond the conversion, the reader makes these things regular: domain "ai.onnx" is "" everywhere;
// nodes that stand before the producers of their inputs (which runtimes accept) are sorted behind
// them; attributes that refer to a function's attribute (ref_attr_name) have kind kUndefined and
// live in `extra`.
#ifndef LATHE_WORKER_ENGINE_GRAPH_READER_H_
#define LATHE_WORKER_ENGINE_GRAPH_READER_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "worker/engine/graph/model.h"

namespace lathe::engine {

// Reads `folder`/`main_file`. External data is mapped from files below `folder`.
// INVALID_ARGUMENT: not an ONNX protobuf (truncated, wrong wire types, nesting or counts past
// common/limits.h, no graph), a tensor whose size overflows or disagrees with its data, an
// initializer name used twice, external data that is missing, too short, or leaves the folder
// ("..", an absolute path, a symbolic link). Messages name field path, byte offset, tensor.
// NOT_FOUND: the main file does not exist. INTERNAL: the system refuses to open or map it.
absl::StatusOr<Model> ReadModel(const std::string& folder, const std::string& main_file);

// The same from memory (for tests and fuzzing): `bytes` is copied; external data is refused unless
// `folder` is given.
absl::StatusOr<Model> ReadModelFromBytes(absl::string_view bytes, const std::string& folder = "");

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_GRAPH_READER_H_
