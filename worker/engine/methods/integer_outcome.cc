#include "worker/engine/methods/integer_outcome.h"

#include <map>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "worker/engine/methods/layer_outcome.h"

namespace lathe::engine {
namespace {

// `before`: null where the layer was none that the 8-bit step knows.
LayerOutcome OfInteger(const EmittedWeight& emitted, const std::string& name, UnitForm form,
                       const LayerOutcome* before, const IntegerOptions& options) {
  LayerOutcome outcome;
  outcome.name = name;
  if (before != nullptr) outcome = *before;
  const bool is_static = form == UnitForm::kStatic;
  outcome.scheme = absl::StrCat(
      "int8 arithmetic, ", is_static ? "static" : "dynamic", " ",
      is_static ? absl::StrCat(options.range.bits, "-bit") : "8-bit", " activations, weights ",
      options.weights.per_channel ? "per channel" : "per tensor",
      emitted.repaired_channels > 0
          ? absl::StrCat(", ", emitted.repaired_channels, " channels made safe for AVX2")
          : "");
  outcome.bits = 8;
  outcome.bytes_after = emitted.bytes;
  outcome.skipped_reason.clear();
  outcome.not_applicable = false;
  SetError(outcome, emitted.squared_error, emitted.squared_norm);
  return outcome;
}

}  // namespace

std::vector<LayerOutcome> IntegerOutcomes(const IntegerRecord& record,
                                          const std::vector<IntegerUnit>& units,
                                          const SearchResult& chosen,
                                          const IntegerOptions& options) {
  std::map<std::string, const LayerOutcome*> start;
  for (const LayerOutcome& outcome : record.start) start[outcome.name] = &outcome;
  std::map<std::string, LayerOutcome> made;
  for (const EmittedWeight& emitted : record.emitted) {
    const IntegerUnit& unit = units[emitted.unit];
    const std::string& name = emitted.recurrent ? unit.recurrent_name : unit.name;
    const auto before = start.find(name);
    made[name] = OfInteger(emitted, name, chosen.forms[emitted.unit],
                           before == start.end() ? nullptr : before->second, options);
  }
  std::map<std::string, std::string> reasons;
  for (size_t u = 0; u < units.size(); ++u) {
    if (!units[u].Linear()) continue;
    reasons[units[u].name] = chosen.reasons[u];
    if (!units[u].recurrent_name.empty()) reasons[units[u].recurrent_name] = chosen.reasons[u];
  }
  std::map<std::string, const LayerOutcome*> stored;
  for (const LayerOutcome& layer : record.stored) stored[layer.name] = &layer;
  std::vector<LayerOutcome> layers;
  for (const LayerOutcome& first : record.start) {
    const auto integer = made.find(first.name);
    if (integer != made.end()) {
      layers.push_back(std::move(integer->second));
      continue;
    }
    const auto found = stored.find(first.name);
    LayerOutcome layer = found != stored.end() ? *found->second : first;
    const auto reason = reasons.find(first.name);
    if (layer.skipped_reason.empty() && reason != reasons.end() && !reason->second.empty()) {
      absl::StrAppend(&layer.scheme, ", arithmetic in float: ", reason->second);
    }
    layers.push_back(std::move(layer));
  }
  return layers;
}

}  // namespace lathe::engine
