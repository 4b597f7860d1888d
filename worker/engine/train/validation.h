// How a model in training does on examples that it does not train on.
#ifndef LATHE_WORKER_ENGINE_TRAIN_VALIDATION_H_
#define LATHE_WORKER_ENGINE_TRAIN_VALIDATION_H_

#include <cstdint>
#include <functional>
#include <span>

#include "absl/status/statusor.h"
#include "worker/engine/graph/model.h"
#include "worker/engine/train/loss.h"
#include "worker/engine/train/trainable.h"
#include "worker/engine/train/training_set.h"

namespace lathe::engine {

struct ValidationResult {
  double loss = 0;
  double labelled = 0;
  double correct = 0;
};

// The loss of the model that `trainable` would write now into `original`, over the examples at
// `places`, `micro` at a time. Errors as Executor::Run and ComputeLoss.
absl::StatusOr<ValidationResult> Validate(const Trainable& trainable, const Model& original,
                                          const Model* teacher, const TrainingSet& set,
                                          std::span<const int64_t> places, int64_t micro,
                                          const LossOptions& loss, size_t output,
                                          const std::function<bool()>& cancelled);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_TRAIN_VALIDATION_H_
