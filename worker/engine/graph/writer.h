// Writes the IR as ONNX.
#ifndef LATHE_WORKER_ENGINE_GRAPH_WRITER_H_
#define LATHE_WORKER_ENGINE_GRAPH_WRITER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/engine/graph/model.h"

namespace lathe::engine {

struct WriteOptions {
  // Tensors of at least this many bytes go to one file `<main_file>.data` when external data is used.
  int64_t external_threshold_bytes = 1024;
  // External data is used when the file would pass this size (protobuf ends at 2 GiB), or when the model was read with external
  // data and would still be larger than this many bytes in one file.
  int64_t max_single_file_bytes = int64_t{1900} << 20;
};

struct WrittenFile {
  std::string path;  // relative to the folder
  int64_t size_bytes = 0;
};

// Writes `folder`/`main_file` (and its data file), streaming: no second copy of the weights in memory. Deterministic.
// Main file first in the answer. INTERNAL when the disk refuses (message with errno).
absl::StatusOr<std::vector<WrittenFile>> WriteModel(const Model& model, const std::string& folder,
                                                    const std::string& main_file,
                                                    const WriteOptions& options = {});

// One protobuf in memory, no external data; for tests.
absl::StatusOr<std::string> SerializeModel(const Model& model);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_GRAPH_WRITER_H_
