// Recipes as JSON and YAML text, and as `NAME:key=value,...` on a command line.
#ifndef LATHE_COMMON_RECIPE_TEXT_H_
#define LATHE_COMMON_RECIPE_TEXT_H_

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/recipe/recipe.h"

namespace lathe {

// Parses YAML (of which JSON is a subset): {steps: [{METHOD: {PARAM: VALUE, ...}}, ...], seed: N,
// SECTION: {PARAM: VALUE, ...}}.
// A step may be a bare method name. `train: {PARAM: VALUE, ...}` among the parameters of a method
// that takes it becomes a fine_tune step behind it; `method` there is fine_tune's `quantized`. Only
// syntax and shape are checked here: values get the type the
// catalogue names for their parameter where it fits, and ValidateRecipe reports the rest.
// INVALID_ARGUMENT with line and column on bad syntax, an unknown top-level key (with the nearest),
// a duplicate key, an alias bomb (aliases are refused), or text past limits::kMaxRecipeBytes or
// kMaxYamlDepth.
absl::StatusOr<Recipe> ParseRecipe(absl::string_view text);

// Parses one step as given on a command line:
// "quantize_weights:bits=4,granularity=group,targets=conv*|fc*". Lists are separated by '|'. A bare
// "fp16" has no parameters.
absl::StatusOr<Step> ParseStepFlag(absl::string_view text);

// Adds "key=value,..." to a section of the recipe, as the flag `flag` ("--evaluate") gave it. A key
// that the section has already is an error, so a flag does not silently overrule a recipe file.
absl::Status AddSectionFlag(absl::string_view name, absl::string_view flag, absl::string_view text,
                            Recipe* recipe);

// Canonical JSON: keys sorted, defaults filled in (in sections left out instead), numbers in their
// shortest exact form, no spaces. Two recipes that mean the same give the same text: it is part of
// the result cache's key.
std::string CanonicalJson(const Recipe& recipe);

// The recipe as readable YAML, only what was given.
std::string ToYaml(const Recipe& recipe);

}  // namespace lathe

#endif  // LATHE_COMMON_RECIPE_TEXT_H_
