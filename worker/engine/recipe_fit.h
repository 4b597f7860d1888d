// Whether a recipe is about this model at all (internal to the engine).
#ifndef LATHE_WORKER_ENGINE_RECIPE_FIT_H_
#define LATHE_WORKER_ENGINE_RECIPE_FIT_H_

#include <vector>

#include "absl/status/status.h"
#include "common/recipe/recipe.h"
#include "worker/engine/graph/layers.h"
#include "worker/engine/methods/method.h"

namespace lathe::engine {

// Before any step: INVALID_ARGUMENT (reason INVALID_RECIPE) when the model has no layer at all, or
// when a step's `targets` match none of `layers`, those of the model as it came.
absl::Status CheckTargets(const Recipe& recipe, const std::vector<Weight>& layers);

// After steps that changed nothing: INVALID_ARGUMENT (reason INVALID_RECIPE) when each layer was
// refused for what it is (LayerOutcome::not_applicable), so that no parameter would make a
// difference. `outcomes`: of every step and layer, one at least.
absl::Status CheckApplicable(const std::vector<LayerOutcome>& outcomes);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_RECIPE_FIT_H_
