// Bytes of a model's files, as they are and compressed.
#ifndef LATHE_WORKER_ENGINE_EVALUATE_FILE_SIZE_H_
#define LATHE_WORKER_ENGINE_EVALUATE_FILE_SIZE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/engine/tensor/parallel.h"

namespace lathe::engine {

struct FileSizes {
  int64_t file_bytes = 0;
  // What `gzip -6` makes of the files, each for itself. Exact (to a few bytes in a thousand, as the
  // work is cut into pieces) for files up to kExactGzipBytes; of larger ones a fixed sample is
  // compressed, and its ratio applied.
  int64_t gzip_bytes = 0;
  bool gzip_sampled = false;
};

inline constexpr int64_t kGzipChunkBytes = 32 << 10;
inline constexpr int64_t kGzipSampledChunks = 48;
inline constexpr int64_t kExactGzipBytes = kGzipChunkBytes * kGzipSampledChunks;

// `files` are relative to `folder`. The same for any number of threads. Reads little of large
// files. NOT_FOUND, UNAVAILABLE when a file cannot be read.
absl::StatusOr<FileSizes> MeasureFiles(const std::string& folder,
                                       const std::vector<std::string>& files, Parallel& parallel);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_EVALUATE_FILE_SIZE_H_
