// What a real runtime makes of a quantized model, as findings of the linter (internal to engine.h).
#ifndef LATHE_WORKER_ENGINE_FUSION_CHECK_H_
#define LATHE_WORKER_ENGINE_FUSION_CHECK_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/engine/engine.h"
#include "worker/engine/graph/model.h"
#include "worker/engine/lint/finding.h"

namespace lathe::engine {

struct FusionCheck {
  std::vector<Finding> findings;
  std::string note;  // what was compared, or why nothing was; for the summary
};

// Has the runtime of `runtime` load the file at `path` and save it as it would run it, and compares
// that with `model`, which was read from the file (functions inlined). A model without anything
// quantized is not loaded. One that the runtime does not take is a finding, rule `not_loaded`; what
// cannot be told (no runtime, no room, a file that it does not save) is the note. Errors: those of
// memory and disks of our own.
absl::StatusOr<FusionCheck> CheckFusion(const Model& model, const std::string& path,
                                        const InspectRuntime& runtime);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_FUSION_CHECK_H_
