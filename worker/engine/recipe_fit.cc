#include "worker/engine/recipe_fit.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/recipe/catalogue.h"
#include "common/status_reason.h"
#include "worker/engine/methods/layer_outcome.h"

namespace lathe::engine {
namespace {

constexpr size_t kMaxListed = 8;

absl::Status Unfit(const std::string& message) {
  return WithReason(absl::InvalidArgumentError(message), "INVALID_RECIPE");
}

// "'fc1', 'fc2' and 3 more".
std::string List(const std::vector<std::string>& items) {
  const size_t shown = std::min(items.size(), kMaxListed);
  std::string out =
      absl::StrJoin(items.begin(), items.begin() + static_cast<std::ptrdiff_t>(shown), ", ");
  if (items.size() > shown) absl::StrAppend(&out, " and ", items.size() - shown, " more");
  return out;
}

}  // namespace

absl::Status CheckTargets(const Recipe& recipe, const std::vector<Weight>& layers) {
  if (layers.empty()) {
    return Unfit(
        "no step of the recipe applies to this model: it has no layer with constant weights (Conv, "
        "ConvTranspose, Gemm, MatMul, Gather, LSTM, GRU or RNN); give a model that has one");
  }
  for (size_t i = 0; i < recipe.steps.size(); ++i) {
    const Step& step = recipe.steps[i];
    const std::vector<std::string> targets = GetStrings(step, "targets");
    if (targets.empty()) continue;
    const auto targeted = [&targets](const Weight& layer) { return Selected(layer, targets, {}); };
    if (std::any_of(layers.begin(), layers.end(), targeted)) continue;
    std::vector<std::string> names;
    for (const Weight& layer : layers) names.push_back(absl::StrCat("'", layer.name, "'"));
    return Unfit(absl::StrCat("steps[", i, "].", step.method, ".targets: no layer matches ",
                              absl::StrJoin(targets, ", "), "; the model's layers are ",
                              List(names), " (`lathe inspect` lists them all)"));
  }
  return absl::OkStatus();
}

absl::Status CheckApplicable(const std::vector<LayerOutcome>& outcomes) {
  std::vector<std::string> refused;
  for (const LayerOutcome& outcome : outcomes) {
    if (outcome.skipped_reason == kNotInTargets || outcome.skipped_reason == kNamedInSkip) continue;
    if (!outcome.not_applicable) return absl::OkStatus();
    refused.push_back(
        absl::StrCat("'", outcome.name, "' (", outcome.op, "): ", outcome.skipped_reason));
  }
  if (refused.empty()) return absl::OkStatus();
  return Unfit(absl::StrCat("no step of the recipe applies to the layers it may touch: ",
                            List(refused), "; choose a step for such layers (docs/recipes.md)"));
}

absl::Status CheckConstraints(const std::map<std::string, double>& constraints, bool has_data) {
  if (has_data) return absl::OkStatus();
  for (const char* name : {"max_accuracy_drop", "max_latency_ratio", "min_sqnr_db"}) {
    if (constraints.count(name) == 0) continue;
    return Unfit(absl::StrCat("constraints.", name,
                              " is judged by running the model: give the job data (--data FILE), "
                              "and no evaluate.task: none"));
  }
  return absl::OkStatus();
}

}  // namespace lathe::engine
