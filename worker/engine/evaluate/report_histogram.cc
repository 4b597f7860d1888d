#include "worker/engine/evaluate/report_histogram.h"

#include <algorithm>
#include <map>
#include <string>

namespace lathe::engine {
namespace {

using nlohmann::json;

// A histogram takes about 2 kB: so many keep a report within what a browser opens at once.
constexpr size_t kMaxWeightHistograms = 200;

}  // namespace

json HistogramJson(const Histogram& histogram) {
  return {{"edges", histogram.Edges()}, {"counts", histogram.counts()}};
}

void AddWeightHistograms(const std::vector<LayerMeasure>& measures, json* layers) {
  std::vector<const LayerMeasure*> worst;
  for (const LayerMeasure& measure : measures) {
    if (!measure.histogram.before.empty() && measure.relative_error) worst.push_back(&measure);
  }
  std::stable_sort(worst.begin(), worst.end(), [](const LayerMeasure* a, const LayerMeasure* b) {
    return *a->relative_error > *b->relative_error;
  });
  if (worst.size() > kMaxWeightHistograms) worst.resize(kMaxWeightHistograms);
  std::map<std::string, const LayerMeasure*> by_name;
  for (const LayerMeasure* measure : worst) by_name[measure->name] = measure;
  for (json& layer : *layers) {
    const auto found = by_name.find(layer["name"].get<std::string>());
    if (found == by_name.end()) continue;
    const WeightHistogram& histogram = found->second->histogram;
    layer["histogram"] = {{"before", HistogramJson(histogram.before)},
                          {"after", HistogramJson(histogram.after)},
                          {"sampled", histogram.sampled}};
  }
}

}  // namespace lathe::engine
