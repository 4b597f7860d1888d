// How big a model is.
#ifndef LATHE_WORKER_ENGINE_EVALUATE_MODEL_SIZE_H_
#define LATHE_WORKER_ENGINE_EVALUATE_MODEL_SIZE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/engine/graph/model.h"

namespace lathe::engine {

// Constants of the model: initializers, Constant nodes and sparse initializers, in all graphs and
// functions.
struct ConstantCounts {
  // Elements of float constants and of integer constants that stand for weights (inputs of Cast,
  // Dequantize*, *Integer, QLinear*, MatMulNBits, GatherBlockQuantized, and of a Gather before
  // these). Scales and zero points are not parameters.
  int64_t parameters = 0;
  int64_t nonzero_parameters = 0;
  // Bytes of all these, scales and zero points included.
  int64_t weight_bytes = 0;
};
ConstantCounts CountConstants(const Model& model);

// Bytes of a folder's files on disk, and after gzip (zlib level 1, each file by itself: what a
// transfer or an image would save).
struct FileBytes {
  int64_t file_bytes = 0;
  int64_t gzip_bytes = 0;
};
absl::StatusOr<FileBytes> MeasureFiles(const std::string& folder,
                                       const std::vector<std::string>& paths);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_EVALUATE_MODEL_SIZE_H_
