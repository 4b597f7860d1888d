#include "worker/engine/evaluate/report_evaluation.h"

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "worker/engine/evaluate/report_histogram.h"

namespace lathe::engine {
namespace {

using nlohmann::json;

// Histograms of so many layers' outputs, those that lose most first: a page with all would be too
// long to look at.
constexpr size_t kMaxHistograms = 24;

json OrNull(const std::optional<double>& value) { return value ? json(*value) : json(nullptr); }

json Activations(const std::vector<LayerDiagnosis>& layers) {
  std::vector<const LayerDiagnosis*> worst;
  for (const LayerDiagnosis& layer : layers) {
    if (layer.output_sqnr_db && !layer.before.empty() && !layer.after.empty()) {
      worst.push_back(&layer);
    }
  }
  std::stable_sort(worst.begin(), worst.end(),
                   [](const LayerDiagnosis* a, const LayerDiagnosis* b) {
                     return *a->output_sqnr_db < *b->output_sqnr_db;
                   });
  if (worst.size() > kMaxHistograms) worst.resize(kMaxHistograms);
  json out = json::array();
  for (const LayerDiagnosis* layer : worst) {
    out.push_back({{"name", layer->name},
                   {"output", layer->output},
                   {"before", HistogramJson(layer->before)},
                   {"after", HistogramJson(layer->after)}});
  }
  return out;
}

}  // namespace

void AddEvaluation(const EvaluationOutcome& outcome, json* report) {
  if (!outcome.evaluation.is_null()) (*report)["evaluation"] = outcome.evaluation;
  if (!outcome.latency.is_null()) (*report)["latency"] = outcome.latency;
  if (outcome.layers.empty()) return;
  std::map<std::string, const LayerDiagnosis*> by_name;
  for (const LayerDiagnosis& layer : outcome.layers) by_name[layer.name] = &layer;
  for (json& layer : (*report)["layers"]) {
    const auto found = by_name.find(layer["name"].get<std::string>());
    if (found == by_name.end()) continue;
    layer["output_sqnr_db"] = OrNull(found->second->output_sqnr_db);
    layer["isolated_sqnr_db"] = OrNull(found->second->isolated_sqnr_db);
    if (!found->second->not_measured.empty()) {
      layer["output_not_measured"] = found->second->not_measured;
    }
    if (!found->second->isolated_not_measured.empty()) {
      layer["isolated_not_measured"] = found->second->isolated_not_measured;
    }
  }
  (*report)["activations"] = Activations(outcome.layers);
}

}  // namespace lathe::engine
