#include "worker/engine/evaluate/report.h"

#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "common/build_info.h"
#include "common/recipe/text.h"

namespace lathe::engine {
namespace {

using nlohmann::json;

// -20 log10(relative error), finite for JSON: nothing lost is absent.
json SqnrDb(double relative_error) {
  if (!(relative_error > 0) || !std::isfinite(relative_error)) return nullptr;
  return -20 * std::log10(relative_error);
}

json Figures(const ModelFigures& f) {
  json macs = {
      {"total", f.cost.macs}, {"float32", f.cost.macs_float32}, {"int8", f.cost.macs_int8}};
  return {{"file_bytes", f.files.file_bytes},
          {"gzip_bytes", f.files.gzip_bytes},
          {"parameters", f.constants.parameters},
          {"nonzero_parameters", f.constants.nonzero_parameters},
          {"weight_bytes", f.constants.weight_bytes},
          {"macs", f.cost.macs},
          {"macs_by_type", macs},
          {"macs_incomplete", f.cost.incomplete},
          {"energy_pj", f.cost.energy_pj},
          {"opset", f.opset}};
}

json Ratio(double before, double after) { return after > 0 ? json(before / after) : json(nullptr); }

template <typename T>
json OrNull(const std::optional<T>& value) {
  return value ? json(*value) : json(nullptr);
}

json StepLayer(const LayerOutcome& l) {
  json out = {
      {"name", l.name},
      {"op", l.op},
      {"scheme", l.scheme},
      {"bits", OrNull(l.bits)},
      {"requested_bits", OrNull(l.requested_bits)},
      {"rank", OrNull(l.rank)},
      {"sparsity", OrNull(l.sparsity)},
      {"relative_error", OrNull(l.relative_error)},
      {"sqnr_db", OrNull(l.sqnr_db)},
      {"parameters", l.parameters},
      {"bytes_before", l.bytes_before},
      {"bytes_after", l.bytes_after},
      {"skipped_reason", l.skipped_reason.empty() ? json(nullptr) : json(l.skipped_reason)}};
  return out;
}

// Layers made by a step ("fc1/low_rank_a") are told with the layer they came from.
std::string OriginOf(const std::string& name, const std::set<std::string>& first) {
  if (first.count(name) != 0) return name;
  const size_t cut = name.rfind("/low_rank");
  return cut != std::string::npos ? name.substr(0, cut) : name;
}

}  // namespace

// One entry a layer of the input model: every step's outcome, and the layer as it is at the end.
static std::vector<json> MergeLayers(const ReportInput& input) {
  std::vector<json> layers;
  std::map<std::string, size_t> index;
  std::set<std::string> first;
  if (!input.steps.empty()) {
    for (const LayerOutcome& l : input.steps[0].outcome.layers) first.insert(l.name);
  }
  for (const StepRecord& step : input.steps) {
    std::map<std::string, int> parts;  // of a layer, in this step
    for (const LayerOutcome& l : step.outcome.layers) {
      const std::string name = OriginOf(l.name, first);
      auto [it, fresh] = index.emplace(name, layers.size());
      if (fresh) {
        layers.push_back({{"name", name},
                          {"op", l.op},
                          {"scheme", ""},
                          {"bits", nullptr},
                          {"requested_bits", nullptr},
                          {"rank", nullptr},
                          {"sparsity", nullptr},
                          {"relative_error", nullptr},
                          {"sqnr_db", nullptr},
                          {"parameters", l.parameters},
                          {"bytes_before", l.bytes_before},
                          {"bytes_after", l.bytes_before},
                          {"skipped_reason", nullptr},
                          {"steps", json::array()}});
      }
      json& layer = layers[it->second];
      json entry = StepLayer(l);
      entry["method"] = step.step.method;
      layer["steps"].push_back(entry);
      const bool another_part = parts[name]++ > 0;
      layer["bytes_after"] =
          l.bytes_after + (another_part ? layer["bytes_after"].get<int64_t>() : 0);
      if (!l.skipped_reason.empty()) {
        if (layer["scheme"].get<std::string>().empty()) layer["skipped_reason"] = l.skipped_reason;
        continue;
      }
      layer["skipped_reason"] = nullptr;
      const std::string scheme = layer["scheme"].get<std::string>();
      if (scheme.find(l.scheme) == std::string::npos)
        layer["scheme"] = scheme.empty() ? l.scheme : scheme + "; " + l.scheme;
      for (const char* key : {"bits", "requested_bits", "rank", "sparsity"}) {
        if (!entry[key].is_null()) layer[key] = entry[key];
      }
    }
  }
  for (json& layer : layers) {
    const auto it = input.layer_errors.find(layer["name"].get<std::string>());
    if (it == input.layer_errors.end()) continue;
    layer["relative_error"] = it->second;
    layer["sqnr_db"] = SqnrDb(it->second);
  }
  return layers;
}

std::string ReportJson(const ReportInput& input) {
  json steps = json::array();
  for (const StepRecord& step : input.steps) {
    int done = 0;
    int skipped = 0;
    for (const LayerOutcome& l : step.outcome.layers) (l.skipped_reason.empty() ? done : skipped)++;
    Recipe one;
    one.steps.push_back(step.step);
    const json canonical = json::parse(CanonicalJson(one));
    steps.push_back({{"method", step.step.method},
                     {"params", canonical["steps"][0][step.step.method]},
                     {"layers_done", done},
                     {"layers_skipped", skipped},
                     {"seconds", step.seconds},
                     {"notes", step.outcome.notes}});
  }
  json files = json::array();
  for (const InputFile& f : input.files) {
    files.push_back({{"path", f.path}, {"sha256", f.sha256}, {"size_bytes", f.size_bytes}});
  }
  json datasets = json::array();
  for (const InputDataset& d : input.datasets) {
    datasets.push_back({{"role", d.role}, {"name", d.name}, {"sha256", d.sha256}, {"used", false}});
  }
  json before = Figures(input.before);
  json after = Figures(input.after);
  const json report = {{"schema_version", 1},
                       {"build_id", BuildId()},
                       {"seed", input.recipe.seed},
                       {"recipe", json::parse(CanonicalJson(input.recipe))},
                       {"inputs", {{"files", files}, {"datasets", datasets}}},
                       {"bindings", input.before.cost.bindings},
                       {"before", before},
                       {"after", after},
                       {"ratios",
                        {{"file_bytes", Ratio(before["file_bytes"], after["file_bytes"])},
                         {"gzip_bytes", Ratio(before["gzip_bytes"], after["gzip_bytes"])},
                         {"weight_bytes", Ratio(before["weight_bytes"], after["weight_bytes"])},
                         {"macs", Ratio(before["macs"], after["macs"])},
                         {"energy_pj", Ratio(before["energy_pj"], after["energy_pj"])}}},
                       {"energy_source", kEnergySource},
                       {"layers", MergeLayers(input)},
                       {"steps", steps},
                       {"notes", input.notes},
                       {"warnings", input.warnings},
                       {"timings", input.timings}};
  return report.dump(1, ' ', false, json::error_handler_t::replace);
}

}  // namespace lathe::engine
