#include "worker/engine/evaluate/report.h"

#include <cmath>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/build_info.h"
#include "common/recipe/text.h"
#include "common/report/advice.h"
#include "worker/engine/evaluate/constraints.h"
#include "worker/engine/evaluate/layer_summary.h"
#include "worker/engine/evaluate/report_cost.h"
#include "worker/engine/evaluate/report_evaluation.h"
#include "worker/engine/evaluate/report_histogram.h"
#include "worker/engine/evaluate/report_training.h"

namespace lathe::engine {
namespace {

using nlohmann::json;

// JSON has no NaN and no infinity: they become null.
json Finite(double value) { return std::isfinite(value) ? json(value) : json(nullptr); }

json OrNull(const std::optional<double>& value) { return value ? Finite(*value) : json(nullptr); }

template <typename T>
json OrNull(const std::optional<T>& value) {
  return value ? json(*value) : json(nullptr);
}

json OrNull(const std::string& text) { return text.empty() ? json(nullptr) : json(text); }

// -20 log10(error); null when nothing was lost, or everything is unknown.
json SqnrDb(const std::optional<double>& error) {
  if (!error || !(*error > 0)) return nullptr;
  return Finite(-20 * std::log10(*error));
}

json Figures(const ModelFigures& f) {
  json figures = {{"file_bytes", f.files.file_bytes},
                  {"gzip_bytes", f.files.gzip_bytes},
                  {"gzip_sampled", f.files.gzip_sampled},
                  {"parameters", f.parameters},
                  {"nonzero_parameters", f.nonzero_parameters},
                  {"weight_bytes", f.weight_bytes},
                  {"peak_activation_bytes",
                   f.peak_activation_bytes < 0 ? json(nullptr) : json(f.peak_activation_bytes)},
                  {"opset", f.opset},
                  {"ir_version", f.ir_version}};
  AddCost(f.inference, &figures);
  return figures;
}

json Ratios(const json& before, const json& after) {
  json ratios = json::object();
  for (const char* key : {"file_bytes", "gzip_bytes", "weight_bytes", "parameters",
                          "nonzero_parameters", "macs", "bytes_moved", "energy_pj"}) {
    const double from = before[key].get<double>();
    const double to = after[key].get<double>();
    ratios[key] = to > 0 ? json(from / to) : json(nullptr);
  }
  return ratios;
}

json OutcomeJson(const LayerOutcome& l) {
  return {{"name", l.name},
          {"scheme", l.scheme},
          {"bits", OrNull(l.bits)},
          {"requested_bits", OrNull(l.requested_bits)},
          {"rank", OrNull(l.rank)},
          {"sparsity", OrNull(l.sparsity)},
          {"relative_error", OrNull(l.relative_error)},
          {"sqnr_db", SqnrDb(l.relative_error)},
          {"parameters", l.parameters},
          {"bytes_before", l.bytes_before},
          {"bytes_after", l.bytes_after},
          {"skipped_reason", OrNull(l.skipped_reason)}};
}

json LayerJson(const LayerSummary& layer) {
  json steps = json::array();
  for (const LayerStep& step : layer.steps) {
    json entry = OutcomeJson(step.outcome);
    entry["step"] = step.step;
    entry["method"] = step.method;
    steps.push_back(std::move(entry));
  }
  return {{"name", layer.name},
          {"op", layer.op},
          {"dims", layer.dims},
          {"scheme", layer.scheme},
          {"bits", OrNull(layer.bits)},
          {"requested_bits", OrNull(layer.requested_bits)},
          {"rank", OrNull(layer.rank)},
          {"sparsity", OrNull(layer.sparsity)},
          {"relative_error", OrNull(layer.relative_error)},
          {"sqnr_db", SqnrDb(layer.relative_error)},
          {"parameters", layer.parameters},
          {"parameters_after", layer.parameters_after},
          {"bytes_before", layer.bytes_before},
          {"bytes_after", layer.bytes_after},
          {"skipped_reason", OrNull(layer.skipped_reason)},
          {"not_measured", OrNull(layer.not_measured)},
          {"steps", std::move(steps)}};
}

json StepsJson(const ReportInput& input) {
  json steps = json::array();
  for (const StepRecord& record : input.steps) {
    int done = 0;
    int skipped = 0;
    for (const LayerOutcome& l : record.outcome.layers) {
      ++(l.skipped_reason.empty() ? done : skipped);
    }
    Recipe one;
    one.steps.push_back(record.step);
    const json canonical = json::parse(CanonicalJson(one));
    steps.push_back({{"method", record.step.method},
                     {"params", canonical["steps"][0][record.step.method]},
                     {"layers_done", done},
                     {"layers_skipped", skipped},
                     {"notes", record.outcome.notes}});
    if (record.outcome.training) steps.back()["training"] = TrainingJson(*record.outcome.training);
  }
  return steps;
}

const char* KindName(ReportKind kind) {
  switch (kind) {
    case ReportKind::kCompression:
      return "compression";
    case ReportKind::kEvaluation:
      return "evaluation";
    case ReportKind::kComparison:
      return "comparison";
  }
  return "";
}

json InputsJson(const ReportInput& input) {
  json files = json::array();
  for (const InputFile& f : input.files) {
    files.push_back({{"path", f.path}, {"sha256", f.sha256}, {"size_bytes", f.size_bytes}});
  }
  json datasets = json::array();
  for (const InputDataset& d : input.datasets) {
    datasets.push_back({{"role", d.role},
                        {"name", d.name},
                        {"sha256", d.sha256},
                        {"used", input.calibrated || input.evaluation.has_value()}});
  }
  return {{"files", std::move(files)}, {"datasets", std::move(datasets)}};
}

json TimingsJson(const ReportInput& input) {
  json timings = json::object();
  for (const auto& [phase, seconds] : input.timings) timings[phase] = Finite(seconds);
  json steps = json::array();
  for (const StepRecord& record : input.steps) steps.push_back(Finite(record.seconds));
  timings["steps"] = std::move(steps);
  return timings;
}

json WithAdvice(json report) {
  report["advice"] = NextSteps(report);
  return report;
}

// Warnings that the figures themselves give rise to.
void AddWarnings(const ReportInput& input, std::vector<std::string>* warnings) {
  const int64_t before = input.before.files.file_bytes;
  const int64_t after = input.after.files.file_bytes;
  if (after > before && input.kind == ReportKind::kCompression) {
    warnings->push_back(absl::StrCat("the result is larger than the input (", after, " against ",
                                     before, " bytes); the layers tell where the bytes are"));
  }
  for (const std::string& name : input.before.inference.unused_bindings) {
    const Bindings& known = input.before.inference.bindings;
    std::vector<std::string> names;
    for (const auto& [symbol, size] : known) names.push_back(symbol);
    warnings->push_back(absl::StrCat(
        "no dimension of an input is called '", name, "'; ",
        names.empty() ? "all are fixed" : absl::StrCat("there are: ", absl::StrJoin(names, ", "))));
  }
}

}  // namespace

Report MakeReport(const ReportInput& input) {
  std::vector<std::string> warnings = input.warnings;
  AddWarnings(input, &warnings);
  json layers = json::array();
  for (const LayerSummary& layer : SummarizeLayers(input, &warnings)) {
    json& entry = layers.emplace_back(LayerJson(layer));
    if (const auto cost = input.costs_before.find(layer.name); cost != input.costs_before.end()) {
      AddLayerCost(cost->second, "", &entry);
    }
    if (const auto cost = input.costs_after.find(layer.name); cost != input.costs_after.end()) {
      AddLayerCost(cost->second, "_after", &entry);
    }
  }
  AddWeightHistograms(input.measures, &layers);
  const json before = Figures(input.before);
  const json after = Figures(input.after);
  const Inference& inference = input.before.inference;
  json report = {{"schema_version", 1},
                 {"kind", KindName(input.kind)},
                 {"build_id", BuildId()},
                 {"seed", input.recipe.seed},
                 {"recipe", json::parse(CanonicalJson(input.recipe))},
                 {"inputs", InputsJson(input)},
                 {"bindings", inference.bindings},
                 {"assumed_bindings", inference.assumed_bindings},
                 {"assumptions", inference.assumptions},
                 {"shape_unknown", inference.shape_unknown},
                 {"before", before},
                 {"after", after},
                 {"ratios", Ratios(before, after)},
                 {"energy_source", kEnergySource},
                 {"layers", std::move(layers)},
                 {"steps", StepsJson(input)},
                 {"notes", input.notes},
                 {"warnings", warnings},
                 {"timings", TimingsJson(input)}};
  if (input.kind == ReportKind::kEvaluation) {
    report.erase("after");
    report.erase("ratios");
  }
  if (input.evaluation) AddEvaluation(*input.evaluation, &report);
  AddTrace(input.trace, &report);
  Report made;
  if (!input.constraints.empty()) {
    const std::vector<ConstraintResult> judged = JudgeConstraints(input.constraints, report);
    report["constraints"] = ConstraintsJson(judged);
    made.rejected = MissedConstraints(judged);
  }
  made.json = WithAdvice(report).dump(1, ' ', false, json::error_handler_t::replace);
  return made;
}

}  // namespace lathe::engine
