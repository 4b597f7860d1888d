// Whether a recipe is about this model at all (internal to the engine).
#ifndef LATHE_WORKER_ENGINE_RECIPE_FIT_H_
#define LATHE_WORKER_ENGINE_RECIPE_FIT_H_

#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/recipe/recipe.h"
#include "worker/engine/graph/layers.h"
#include "worker/engine/methods/method.h"

namespace lathe::engine {

// Before any step: INVALID_ARGUMENT (reason INVALID_RECIPE) when the model has no layer at all, or
// when a step's `targets` match none of `layers`, those of the model as it came.
absl::Status CheckTargets(const Recipe& recipe, const std::vector<Weight>& layers);

// After steps that changed nothing: INVALID_ARGUMENT (reason INVALID_RECIPE) when each layer
// that a step was asked to touch was refused for what it is (LayerOutcome::not_applicable), so that
// no parameter would make a difference. `outcomes`: of every step and layer.
absl::Status CheckApplicable(const std::vector<LayerOutcome>& outcomes);

// INVALID_ARGUMENT with reason INVALID_RECIPE when one of `constraints` (by name) is judged by
// running the model and there is no data to run it on.
absl::Status CheckConstraints(const std::map<std::string, double>& constraints, bool has_data);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_RECIPE_FIT_H_
