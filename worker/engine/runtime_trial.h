// How a candidate of a step fares in a configured runtime, against the original (internal to
// engine.h).
#ifndef LATHE_WORKER_ENGINE_RUNTIME_TRIAL_H_
#define LATHE_WORKER_ENGINE_RUNTIME_TRIAL_H_

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "worker/engine/data/calibration_data.h"
#include "worker/engine/engine.h"
#include "worker/engine/evaluate/runtime_latency.h"
#include "worker/engine/graph/model.h"

namespace lathe::engine {

// Writes `candidate` to a folder of its own below `scratch_folder`, which is emptied again, runs it
// and `original` in turns on some held-back calibration examples, and returns its time over the
// original's. nullopt where that cannot be had: no runtime, no clock, no scratch folder, a model
// that the runtime does not take. Errors: RESOURCE_EXHAUSTED (disk), CANCELLED, those of reading
// the examples.
absl::StatusOr<std::optional<double>> TryInRuntime(const Model& candidate,
                                                   const RuntimeModel& original,
                                                   const CalibrationData& data,
                                                   const std::string& scratch_folder,
                                                   const Hooks& hooks);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_RUNTIME_TRIAL_H_
