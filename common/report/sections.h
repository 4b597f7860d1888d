// The parts of the report page. Each gives HTML made from the job's report, "" when the report has
// nothing for it.
#ifndef LATHE_COMMON_REPORT_SECTIONS_H_
#define LATHE_COMMON_REPORT_SECTIONS_H_

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace lathe::page {

// summary_sections.cc: what was done and what it did, at a glance.
std::string Verdict(const nlohmann::json& report);  // plain text, a few sentences
std::string SummaryCards(const nlohmann::json& report);
std::string ConstraintsTable(const nlohmann::json& report);
std::string LatencyTable(const nlohmann::json& report);

// cost_sections.cc: what a run costs.
std::string CostTable(const nlohmann::json& report);
std::string OperatorCosts(const nlohmann::json& report);
std::string LayerCosts(const nlohmann::json& report);
std::string ModelOperatorCosts(const nlohmann::json& summary);  // of a model summary

// layer_sections.cc: where the bytes are, and where the error is.
std::string SizeByLayer(const nlohmann::json& report);
std::string ErrorByLayer(const nlohmann::json& report);
std::string WeightHistograms(const nlohmann::json& report);
std::string ActivationHistograms(const nlohmann::json& report);

// evaluation_sections.cc: how well the model still does what it is for.
// The figure that the task is judged by, where the report has it.
struct MainMetric {
  std::string label;  // "Accuracy"
  std::optional<double> before;
  std::optional<double> after;
  std::string (*text)(double) = nullptr;
  std::string before_interval;  // "96.10 to 97.90 %"; may be empty
  std::string after_interval;
};
std::optional<MainMetric> FindMainMetric(const nlohmann::json& report);
// How a figure of an evaluation is shown; nothing for keys that are not known.
struct MetricText {
  std::string label;
  std::string (*text)(double) = nullptr;
  bool share = false;  // of 1, shown in per cent
};
std::optional<MetricText> FindMetricText(const std::string& key);
std::string EvaluationTables(const nlohmann::json& report);
std::string ConfusionMatrices(const nlohmann::json& report);

// tradeoff_section.cc: quality against file size, step by step and of what was tried.
std::string TradeoffTitle(const nlohmann::json& report);  // "Accuracy against size"
std::string QualityAgainstSize(const nlohmann::json& report);

// training_section.cc: loss and accuracy of the steps that train; "" when none does.
std::string TrainingCurves(const nlohmann::json& report);

// about_sections.cc: what was run, on what, and what the figures rest on.
std::string RecipeBlock(const nlohmann::json& report);
std::string StepsTable(const nlohmann::json& report);
std::vector<std::string> NoteLines(const nlohmann::json& report);
// Of a report and of a model summary.
std::string Provenance(const nlohmann::json& json);

// Plain text: "digits.onnx", "the model" when no file is named.
std::string ModelFile(const nlohmann::json& report);
// {"METHOD (bits 8)", ...}, in the order of the recipe.
std::vector<std::string> StepNames(const nlohmann::json& report);

// The recipe as YAML that `lathe` reads; "" when `recipe` is no recipe.
std::string RecipeYaml(const nlohmann::json& recipe);

}  // namespace lathe::page

#endif  // LATHE_COMMON_REPORT_SECTIONS_H_
