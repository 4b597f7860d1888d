// Tells a step how accurate a candidate is, on labelled examples held back from calibration
// (internal to engine.h).
#ifndef LATHE_WORKER_ENGINE_ACCURACY_PROBE_H_
#define LATHE_WORKER_ENGINE_ACCURACY_PROBE_H_

#include <functional>
#include <string>

#include "absl/status/statusor.h"
#include "common/recipe/recipe.h"
#include "worker/engine/evaluate/metrics/paired_evaluation.h"
#include "worker/engine/evaluation_data.h"
#include "worker/engine/graph/model.h"
#include "worker/engine/methods/method.h"
#include "worker/engine/tensor/parallel.h"

namespace lathe::engine {

class AccuracyProbe {
 public:
  // The task is the one that `evaluate` of the recipe names, or that the labels speak for. All must
  // outlive it. INVALID_ARGUMENT with reason INVALID_DATASET: no calibration data, none with
  // labels, or a task whose figure is no share in which larger is better (regression, embedding,
  // language modeling).
  static absl::StatusOr<AccuracyProbe> Make(const EvaluationData* data, const Recipe& recipe,
                                            Parallel* parallel, std::function<bool()> cancelled);

  // On kMostExamples at most; always the same ones. UNIMPLEMENTED where the engine cannot run the
  // model. Errors as RunEvaluation.
  absl::StatusOr<Accuracy> Of(const Model& candidate) const;

  static constexpr int64_t kMostExamples = 1024;

 private:
  AccuracyProbe() = default;

  const EvaluationData* data_ = nullptr;
  PairedOptions metrics_;
  Parallel* parallel_ = nullptr;
  std::function<bool()> cancelled_;
};

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_ACCURACY_PROBE_H_
