// Any text: a recipe, or a clear error; and the canonical form of a valid recipe is valid and its
// own canonical form.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "common/recipe/text.h"
#include "common/recipe/validate.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view text(reinterpret_cast<const char*>(data), size);
  lathe::ParseStepFlag(text).status().IgnoreError();
  const absl::StatusOr<lathe::Recipe> recipe = lathe::ParseRecipe(text);
  if (!recipe.ok()) {
    if (recipe.status().message().empty()) std::abort();
    return 0;
  }
  if (!lathe::ValidateRecipe(*recipe).empty()) return 0;
  const std::string canonical = lathe::CanonicalJson(*recipe);
  const absl::StatusOr<lathe::Recipe> again = lathe::ParseRecipe(canonical);
  if (!again.ok() || !lathe::ValidateRecipe(*again).empty()) std::abort();
  if (lathe::CanonicalJson(*again) != canonical) std::abort();
  return 0;
}
