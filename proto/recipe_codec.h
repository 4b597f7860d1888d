// Between the recipe on the wire (lathe.v1.Recipe) and the recipe as plain data
// (common/recipe/recipe.h). Field names are parameter names, so this needs no line per method: a
// test keeps catalogue and proto in step.
#ifndef LATHE_PROTO_RECIPE_CODEC_H_
#define LATHE_PROTO_RECIPE_CODEC_H_

#include "absl/status/statusor.h"
#include "common/recipe/recipe.h"
#include "lathe/v1/recipe.pb.h"

namespace lathe {

// Total: a step without a method becomes one with an empty name, which validation refuses. Empty
// lists count as not given. `train` of a step becomes a step of its own behind it.
Recipe RecipeFromProto(const v1::Recipe& proto);

// INVALID_ARGUMENT for a method, parameter or type that the proto does not have; validate the
// recipe first.
absl::StatusOr<v1::Recipe> RecipeToProto(const Recipe& recipe);

}  // namespace lathe

#endif  // LATHE_PROTO_RECIPE_CODEC_H_
