// The state of a training run as bytes.
#ifndef LATHE_WORKER_ENGINE_TRAIN_CHECKPOINT_H_
#define LATHE_WORKER_ENGINE_TRAIN_CHECKPOINT_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace lathe::engine {

// Numbers and names as JSON, and arrays of float32 in an order that the caller fixes.
//   "LATHECP1"  JSON's length, 8 bytes little-endian  JSON, in which "sizes" lists the arrays'
//   lengths  the arrays' bytes  FNV-1a of all that, 8 bytes
struct Checkpoint {
  nlohmann::json state;
  std::vector<std::vector<float>> arrays;
};

std::string WriteCheckpoint(const Checkpoint& checkpoint);
// INVALID_ARGUMENT for anything that WriteCheckpoint did not write.
absl::StatusOr<Checkpoint> ReadCheckpoint(absl::string_view bytes);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_TRAIN_CHECKPOINT_H_
