// Validation of recipes against the catalogue.
#ifndef LATHE_COMMON_RECIPE_VALIDATE_H_
#define LATHE_COMMON_RECIPE_VALIDATE_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "common/recipe/recipe.h"

namespace lathe {

// One thing wrong. `field` is a path from the recipe as it was written:
// "steps[1].quantize_weights.bits", "steps[1].quantize_weights.train.epochs", "evaluate.top_k".
// `description` says what is expected, what was given, the bound, and the nearest valid name or
// value.
struct Violation {
  std::string field;
  std::string description;
};

// What a recipe is for: a job that only evaluates has no steps.
enum class RecipeUse { kCompress, kEvaluate };

// All violations: no steps (kCompress), any (kEvaluate), too many, an unknown section, an unknown
// method or parameter (with the nearest valid name), a wrong type, a value out of range or not
// finite, parameters that exclude each other, one that needs another, too many or too long
// patterns, gradual pruning without a step that trains right after it.
std::vector<Violation> ValidateRecipe(const Recipe& recipe, RecipeUse use = RecipeUse::kCompress);

// Steps of a valid recipe that cannot do without examples, to calibrate or to train on, where no
// dataset serves as such. `roles`: the datasets'; `calibration` and `train` serve the former,
// `train` the latter, and "" or "all" anything.
std::vector<Violation> ValidateExamples(const Recipe& recipe,
                                        const std::vector<std::string>& roles);

// INVALID_ARGUMENT with all violations, a line each; OK when there are none.
absl::Status ViolationsToStatus(const std::vector<Violation>& violations);

// The name among `names` nearest to `given` by edit distance, or "" when none is near (distance
// over max(2, size / 3)).
std::string NearestName(absl::string_view given, const std::vector<std::string>& names);

}  // namespace lathe

#endif  // LATHE_COMMON_RECIPE_VALIDATE_H_
