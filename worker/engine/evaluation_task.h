// What an evaluation measures: the recipe's `evaluate` section, and what the labels speak for
// (internal to engine.h).
#ifndef LATHE_WORKER_ENGINE_EVALUATION_TASK_H_
#define LATHE_WORKER_ENGINE_EVALUATION_TASK_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/recipe/recipe.h"
#include "worker/engine/data/example_file.h"
#include "worker/engine/evaluate/metrics/task.h"

namespace lathe::engine {

// `evaluate`: the section of a validated recipe, as are all of its parameters.
TaskOptions TaskOptionsOf(const Step& evaluate);

// The task that the section names, or, by `auto`, that the labels speak for; nullopt: fidelity
// alone. Adds to `warnings` where labels are of no use. INVALID_ARGUMENT when the section names
// detection and there are no true boxes, or another task and there are nothing else.
absl::StatusOr<std::optional<Task>> TaskOf(const Step& evaluate, LabelKind labels,
                                           std::vector<std::string>* warnings);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_EVALUATION_TASK_H_
