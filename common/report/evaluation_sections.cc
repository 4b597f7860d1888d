#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"
#include "common/report/html.h"
#include "common/report/json_access.h"
#include "common/report/number_text.h"
#include "common/report/plots.h"
#include "common/report/sections.h"
#include "common/report/table.h"

namespace lathe::page {
namespace {

using nlohmann::json;

constexpr size_t kMaxOutputs = 64;
constexpr size_t kMaxMetrics = 64;

std::string TwoDecimals(double share) { return Percent(share); }
std::string Decibels(double value) { return absl::StrFormat("%.1f", value); }

struct MetricKind {
  const char* key;
  const char* label;
  std::string (*text)(double);
};

// In the order in which they are shown; the first one that a report has is its main one, unless it
// is a side figure.
constexpr MetricKind kMetrics[] = {
    {"accuracy", "Accuracy", TwoDecimals},
    {"map_50_95", "mAP@0.5:0.95", TwoDecimals},
    {"map_50", "mAP@0.5", TwoDecimals},
    {"sequence_accuracy", "Sequence accuracy", TwoDecimals},
    {"character_error_rate", "Character error rate", TwoDecimals},
    {"token_accuracy", "Token accuracy", TwoDecimals},
    {"perplexity", "Perplexity", Significant},
    {"r2", "R\xC2\xB2", Significant},
    {"rmse", "RMSE", Significant},
    {"mae", "MAE", Significant},
    {"neighbour_agreement", "Nearest-neighbour agreement", TwoDecimals},
    {"nearest_neighbour_agreement", "Nearest-neighbour agreement", TwoDecimals},
    {"cosine", "Cosine", Significant},
};
constexpr MetricKind kSideMetrics[] = {
    {"precision_macro", "Precision, macro", TwoDecimals},
    {"recall_macro", "Recall, macro", TwoDecimals},
    {"f1_macro", "F1, macro", TwoDecimals},
    {"precision_weighted", "Precision, weighted", TwoDecimals},
    {"recall_weighted", "Recall, weighted", TwoDecimals},
    {"f1_weighted", "F1, weighted", TwoDecimals},
    {"log_loss", "Log loss", Significant},
    {"ece", "Expected calibration error", TwoDecimals},
};

const MetricKind* Find(const std::string& key) {
  for (const MetricKind& kind : kMetrics) {
    if (key == kind.key) return &kind;
  }
  for (const MetricKind& kind : kSideMetrics) {
    if (key == kind.key) return &kind;
  }
  return nullptr;
}

std::string Interval(const json& side, const std::string& key, std::string (*text)(double)) {
  const std::vector<double> ends = Numbers(At(side, (key + "_interval").c_str()));
  return ends.size() == 2 ? absl::StrCat(text(ends[0]), " to ", text(ends[1])) : "";
}

void AddMetric(Table& table, const json& evaluation, const std::string& label,
               std::string (*text)(double), std::initializer_list<const char*> path) {
  const auto before = Number(At(At(evaluation, "before"), path));
  const auto after = Number(At(At(evaluation, "after"), path));
  if (!before && !after) return;
  Cell change = Cell::Of(std::nullopt, Significant);
  if (before && after) {
    const double difference = *after - *before;
    change.value = difference;
    const std::string shown =
        text == TwoDecimals ? absl::StrFormat("%+.2f points", 100 * difference)
                            : absl::StrCat(difference < 0 ? "" : "+", Significant(difference));
    change.html = Escape(shown);
  }
  const std::string key = *path.begin();
  table.AddRow({Cell::Plain(label), Cell::Of(before, text),
                Cell::Plain(path.size() == 1 ? Interval(At(evaluation, "before"), key, text) : ""),
                Cell::Of(after, text),
                Cell::Plain(path.size() == 1 ? Interval(At(evaluation, "after"), key, text) : ""),
                change});
}

// Known figures in their order, then whatever else is a number.
std::string MetricTable(const json& evaluation) {
  Table table("metrics", "Figures of the evaluation");
  table.AddColumn("Figure");
  table.AddColumn("Before", Table::kNumber);
  table.AddColumn("95 % interval");
  table.AddColumn("After", Table::kNumber);
  table.AddColumn("95 % interval");
  table.AddColumn("Change", Table::kNumber);
  for (const MetricKind& kind : kMetrics)
    AddMetric(table, evaluation, kind.label, kind.text, {kind.key});
  for (const char* side : {"before", "after"}) {
    const json& top = At(evaluation, {side, "top_k"});
    if (!top.is_object()) continue;
    for (const auto& [k, value] : top.items()) {
      if (table.size() > kMaxMetrics) break;
      AddMetric(table, evaluation, absl::StrCat("Top-", k, " accuracy"), TwoDecimals,
                {"top_k", k.c_str()});
    }
    break;
  }
  for (const MetricKind& kind : kSideMetrics)
    AddMetric(table, evaluation, kind.label, kind.text, {kind.key});
  const json& after = At(evaluation, "after");
  const json& known = after.is_object() ? after : At(evaluation, "before");
  if (known.is_object()) {
    for (const auto& [key, value] : known.items()) {
      if (Find(key) != nullptr || !value.is_number() || table.size() > kMaxMetrics) continue;
      AddMetric(table, evaluation, absl::StrReplaceAll(key, {{"_", " "}}), Significant,
                {key.c_str()});
    }
  }
  return table.Html();
}

std::string WorstExamples(const json& output) {
  std::vector<std::string> examples;
  for (const json& example : List(output, "worst")) {
    const auto index = Number(example, "index");
    if (!index || examples.size() >= 5) continue;
    const auto error = Number(example, "relative_error");
    examples.push_back(
        absl::StrCat(Grouped(*index), error ? absl::StrCat(" (", Significant(*error), ")") : ""));
  }
  std::string out;
  for (const std::string& example : examples)
    absl::StrAppend(&out, out.empty() ? "" : ", ", example);
  return out;
}

std::string FidelityTable(const json& evaluation) {
  const json& outputs = At(evaluation, "fidelity");
  if (!outputs.is_object()) return "";
  Table table("fidelity", "Outputs against those of the original model");
  table.AddColumn("Output");
  table.AddColumn("SQNR, dB", Table::kLow);
  table.AddColumn("Cosine", Table::kLow);
  table.AddColumn("Largest error", Table::kNumber);
  table.AddColumn("KL of softmax", Table::kNumber);
  table.AddColumn("Same top-1", Table::kLow);
  table.AddColumn("Worst examples (relative error)");
  for (const auto& [name, output] : outputs.items()) {
    if (!output.is_object() || table.size() >= kMaxOutputs) continue;
    table.AddRow(
        {Cell::OfName(name), Cell::Of(Number(output, "sqnr_db"), Decibels),
         Cell::Of(Number(output, "cosine"), [](double v) { return absl::StrFormat("%.6f", v); }),
         Cell::Of(Number(output, "max_abs_error"), Significant),
         Cell::Of(Number(output, "kl"), Significant),
         Cell::Of(Number(output, "top1_agreement"), TwoDecimals),
         Cell::Plain(WorstExamples(output))});
  }
  return table.Html();
}

std::vector<std::string> ClassNames(const json& report) {
  return Texts(At(report, {"evaluation", "class_names"}));
}

}  // namespace

std::optional<MetricText> FindMetricText(const std::string& key) {
  const MetricKind* kind = Find(key);
  if (kind == nullptr) return std::nullopt;
  return MetricText{kind->label, kind->text, kind->text == TwoDecimals};
}

std::optional<MainMetric> FindMainMetric(const json& report) {
  const json& evaluation = At(report, "evaluation");
  for (const MetricKind& kind : kMetrics) {
    MainMetric metric;
    metric.before = Number(evaluation, {"before", kind.key});
    metric.after = Number(evaluation, {"after", kind.key});
    if (!metric.before && !metric.after) continue;
    metric.label = kind.label;
    metric.text = kind.text;
    metric.before_interval = Interval(At(evaluation, "before"), kind.key, kind.text);
    metric.after_interval = Interval(At(evaluation, "after"), kind.key, kind.text);
    return metric;
  }
  return std::nullopt;
}

std::string EvaluationTables(const json& report) {
  const json& evaluation = At(report, "evaluation");
  std::string out;
  if (const std::string why = Text(evaluation, "not_evaluated"); !why.empty()) {
    absl::StrAppend(&out, "<p class=\"notice\">Not evaluated: ", Escape(why), "</p>\n");
  }
  if (const std::string text = Text(evaluation, "significance"); !text.empty()) {
    absl::StrAppend(&out, "<p class=\"says\">", Prose(text));
    if (const auto p = Number(evaluation, "p_value"))
      absl::StrAppend(&out, " (p = ", Significant(*p), ")");
    absl::StrAppend(&out, "</p>\n");
  }
  absl::StrAppend(&out, MetricTable(evaluation), FidelityTable(evaluation));
  if (out.empty()) return "";
  std::vector<std::string> what;
  if (std::string task = Text(evaluation, "task"); !task.empty()) what.push_back("Task: " + task);
  if (std::string split = Text(evaluation, "split"); !split.empty())
    what.push_back("split: " + split);
  if (const auto n = Number(evaluation, "examples")) what.push_back("examples: " + Grouped(*n));
  std::string line;
  for (const std::string& part : what) absl::StrAppend(&line, line.empty() ? "" : "; ", part);
  return line.empty() ? out : absl::StrCat("<p class=\"hint\">", Escape(line), ".</p>\n", out);
}

std::string ConfusionMatrices(const json& report) {
  const json& before = At(report, {"evaluation", "before", "confusion_matrix"});
  const json& after = At(report, {"evaluation", "after", "confusion_matrix"});
  const std::vector<std::string> labels = ClassNames(report);
  const std::string maps = absl::StrCat(HeatMap("confusion-before", "Before", before, labels),
                                        HeatMap("confusion-after", "After", after, labels));
  const std::string pairs = MostConfused(before, after, labels);
  if (maps.empty() && pairs.empty()) return "";
  std::string out;
  if (!maps.empty()) {
    out = absl::StrCat(
        "<p class=\"hint\">Examples by true and predicted class. The darker, the larger the "
        "share of the true class (square root).</p>\n<div class=\"maps\">\n",
        maps, "</div>\n");
  } else {
    out = "<p class=\"hint\">Too many classes for a picture of all of them.</p>\n";
  }
  return out + pairs;
}

}  // namespace lathe::page
