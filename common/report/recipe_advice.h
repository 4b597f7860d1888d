// Which recipe to try first on a model, and why.
#ifndef LATHE_COMMON_REPORT_RECIPE_ADVICE_H_
#define LATHE_COMMON_REPORT_RECIPE_ADVICE_H_

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace lathe {

struct RecipeAdvice {
  std::string limit;                 // that was advised for: as given, or the target's
  std::string yaml;                  // an ordinary recipe, its reasons as comments
  std::vector<std::string> reasons;  // a line each
};

// Where models run ("mobile", "embedded", "edge", "cloud"), and what is scarce there ("storage",
// "memory", "compute", "energy").
const std::vector<std::string>& AdviceTargets();
const std::vector<std::string>& AdviceLimits();

// From a model summary (docs/report.md). `target` and `limit` may be empty: the limit then is the
// target's usual one, or storage. Every number in a reason is the summary's or follows from it.
// INVALID_ARGUMENT: an unknown target or limit. FAILED_PRECONDITION: no method applies to any layer
// of the model.
absl::StatusOr<RecipeAdvice> AdviseRecipe(const nlohmann::json& summary, const std::string& target,
                                          const std::string& limit);

}  // namespace lathe

#endif  // LATHE_COMMON_REPORT_RECIPE_ADVICE_H_
