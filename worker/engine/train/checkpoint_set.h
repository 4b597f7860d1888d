// The states of a run's training steps, as one file.
#ifndef LATHE_WORKER_ENGINE_TRAIN_CHECKPOINT_SET_H_
#define LATHE_WORKER_ENGINE_TRAIN_CHECKPOINT_SET_H_

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace lathe::engine {

// Of steps that are done, where their training ended; of the step under way, where it stands.
//   "LATHESET1 "  identity, 64 hex digits  for each step " INDEX:BYTES"  "\n"  the states' bytes
struct CheckpointSet {
  // SHA-256 of what the states depend on: recipe, model, teacher, datasets, build.
  std::string identity;
  std::map<int, std::string> states;  // index of the step -> what the trainer saved
};

// The file in pieces, so that large states are not copied: the header, written to `header`, and the
// states. They borrow both arguments.
std::vector<absl::string_view> CheckpointPieces(const CheckpointSet& set, std::string* header);

// INVALID_ARGUMENT for anything that CheckpointPieces did not make. The states themselves are not
// looked into.
absl::StatusOr<CheckpointSet> ParseCheckpointSet(absl::string_view bytes);

// Reads and parses the file at `path`. NOT_FOUND when it cannot be read; RESOURCE_EXHAUSTED when it
// is larger than limits::kMaxCheckpointBytes.
absl::StatusOr<CheckpointSet> ReadCheckpointSet(const std::string& path);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_TRAIN_CHECKPOINT_SET_H_
