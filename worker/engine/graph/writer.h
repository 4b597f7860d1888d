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
  // Tensors of at least this many bytes go to one file `<main_file>.data` when external data is
  // used.
  int64_t external_threshold_bytes = 1024;
  // External data is used when the model would be larger than this in one file (protobuf ends at 2
  // GiB), however it was read. First the initializers go there; tensors in attributes too when the
  // rest would still be larger.
  int64_t max_single_file_bytes = int64_t{1900} << 20;
};

struct WrittenFile {
  std::string path;  // relative to the folder
  int64_t size_bytes = 0;
};

// Writes `folder`/`main_file` (and its data file), streaming: no second copy of the weights in
// memory. Deterministic. Files appear under their names only when both are complete, so a model may
// be written over the one it was read from. Main file first in the answer. `main_file` may lie in
// an existing folder below `folder`. Data offsets are multiples of 64, of 4096 for tensors of 1 MiB
// and more, so that runtimes can map them. INVALID_ARGUMENT: main_file leaves the folder.
// FAILED_PRECONDITION: past 2 GiB even with external data. RESOURCE_EXHAUSTED: the disk is full.
// INTERNAL: the disk refuses otherwise (both with errno).
absl::StatusOr<std::vector<WrittenFile>> WriteModel(const Model& model, const std::string& folder,
                                                    const std::string& main_file,
                                                    const WriteOptions& options = {});

// Bytes of the files that WriteModel would write, all together. FAILED_PRECONDITION as WriteModel.
absl::StatusOr<int64_t> WrittenBytes(const Model& model, const std::string& main_file,
                                     const WriteOptions& options = {});

// One protobuf in memory, no external data; for tests. FAILED_PRECONDITION past 2 GiB.
absl::StatusOr<std::string> SerializeModel(const Model& model);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_GRAPH_WRITER_H_
