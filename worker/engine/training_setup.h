// What the steps of a run that train need beside what all steps have: examples, a teacher, and
// where an earlier run of the same request stood (internal to engine.h).
#ifndef LATHE_WORKER_ENGINE_TRAINING_SETUP_H_
#define LATHE_WORKER_ENGINE_TRAINING_SETUP_H_

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/recipe/recipe.h"
#include "worker/engine/data/data_plan.h"
#include "worker/engine/engine.h"
#include "worker/engine/graph/model.h"
#include "worker/engine/methods/method.h"
#include "worker/engine/train/checkpoint_set.h"

namespace lathe::engine {

class TrainingSetup {
 public:
  // nullptr: no step of the recipe trains. `original`: the model before the recipe, functions
  // inlined; `train`: may be null. All but `notes`, which gets lines for the report, outlive the
  // setup. INVALID_ARGUMENT (INVALID_DATASET) without examples; as ReadModel, and INVALID_ARGUMENT
  // (INVALID_MODEL), for a teacher that cannot be read or does not fit the model.
  static absl::StatusOr<std::unique_ptr<TrainingSetup>> Make(
      const Recipe& recipe, const CompressRequest& request, const Hooks& hooks,
      const Model& original, const DataSplit* train, std::vector<std::string>* notes);

  // For the step at `index`, which is about to run.
  TrainingContext* ForStep(int index);
  // The step has run.
  void EndStep(const Step& step);

 private:
  TrainingSetup(const CompressRequest& request, const Hooks& hooks)
      : request_(request), hooks_(hooks) {}
  absl::Status ReadTeacher(const Model& original, std::vector<std::string>* notes);
  absl::Status ReadCheckpoint(const Recipe& recipe, const Model& original,
                              std::vector<std::string>* notes);
  // SHA-256 of what the states depend on.
  absl::StatusOr<std::string> Identity(const Recipe& recipe, const Model& original) const;
  absl::Status Save();

  const CompressRequest& request_;
  const Hooks& hooks_;
  TrainingContext context_;
  std::optional<Model> teacher_;
  // Of this run: what is saved. States of `earlier_` move here as their steps come.
  CheckpointSet states_;
  CheckpointSet earlier_;
};

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_TRAINING_SETUP_H_
