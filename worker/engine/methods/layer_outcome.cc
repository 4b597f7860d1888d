#include "worker/engine/methods/layer_outcome.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/recipe/catalogue.h"
#include "worker/engine/methods/magnitude_selection.h"

namespace lathe::engine {

LayerOutcome NewOutcome(const Weight& weight) {
  LayerOutcome outcome;
  outcome.name = weight.name;
  if (!weight.uses.empty()) {
    outcome.op = RoleName(*weight.uses.front().node, weight.uses.front().role);
  }
  outcome.parameters = weight.size();
  outcome.bytes_before = SourceBytes(weight);
  outcome.bytes_after = outcome.bytes_before;
  return outcome;
}

int64_t SourceBytes(const Weight& weight) {
  if (weight.source.graph == nullptr) {
    return DTypeBytes(weight.dtype, weight.size()).value_or(0);
  }
  const auto& sparse = weight.source.graph->sparse_initializers;
  if (const auto found = sparse.find(weight.source.value); found != sparse.end()) {
    return static_cast<int64_t>(found->second.size());
  }
  return SourceTensor(weight).byte_size();
}

std::string ReasonToSkip(const Weight& weight, const Step& step) {
  if (!weight.blocked_reason.empty()) return weight.blocked_reason;
  if (!Selected(weight, GetStrings(step, "targets"), GetStrings(step, "skip"))) {
    return Selected(weight, GetStrings(step, "targets"), {}) ? kNamedInSkip : kNotInTargets;
  }
  return "";
}

void SetError(LayerOutcome& outcome, double squared_change, double squared_norm) {
  if (squared_norm <= 0) {
    if (squared_change <= 0) outcome.relative_error = 0;
    return;
  }
  const double error = std::sqrt(std::max(squared_change, 0.0) / squared_norm);
  outcome.relative_error = error;
  if (error > 0) outcome.sqnr_db = -20 * std::log10(error);
}

Tensor* MutableSource(const Weight& weight) {
  if (weight.source.graph == nullptr) return nullptr;
  if (weight.source.kind == WeightSource::Kind::kInitializer) {
    const auto found = weight.source.graph->initializers.find(weight.source.value);
    return found == weight.source.graph->initializers.end() ? nullptr : &found->second;
  }
  Attribute* value = weight.source.constant->FindAttribute("value");
  return value != nullptr && value->tensors.size() == 1 ? &value->tensors[0] : nullptr;
}

absl::Status CheckFinite(const Weight& weight, Parallel& parallel) {
  if (AllFinite(SourceTensor(weight), parallel)) return absl::OkStatus();
  return ReadWeight(weight).status();  // names the layer, the element and what it is
}

absl::Status StartLayer(StepContext& ctx, size_t index, size_t count, const std::string& name) {
  if (ctx.cancelled && ctx.cancelled()) {
    return absl::CancelledError(absl::StrCat("cancelled before layer '", name, "'"));
  }
  if (ctx.progress) {
    ctx.progress(count == 0 ? 1.0 : static_cast<double>(index) / static_cast<double>(count),
                 absl::StrCat(name, " (", index + 1, " of ", count, ")"));
  }
  return absl::OkStatus();
}

void NoteUnmatchedTargets(StepContext& ctx, const std::vector<Weight>& weights) {
  const std::vector<std::string> targets = GetStrings(ctx.step, "targets");
  if (targets.empty()) return;
  const bool any = std::any_of(weights.begin(), weights.end(), [&targets](const Weight& weight) {
    return Selected(weight, targets, {});
  });
  if (any) return;
  ctx.outcome.notes.push_back(absl::StrCat("no layer matches targets ",
                                           absl::StrJoin(targets, ", "),
                                           "; `lathe inspect` lists the names of layers"));
}

std::string Percent(double fraction) {
  const double tenths = std::round(fraction * 1000);
  return absl::StrCat(tenths / 10, " %");
}

}  // namespace lathe::engine
