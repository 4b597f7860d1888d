#include "worker/engine/evaluate/report_text_evaluation.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "worker/engine/evaluate/text_table.h"

namespace lathe::engine {
namespace {

using nlohmann::json;
using Rows = std::vector<std::vector<std::string>>;

constexpr size_t kWorstLayers = 5;
constexpr size_t kMaxName = 44;

// The value at `key` of an object; null when there is none.
const json& At(const json& object, const char* key) {
  static const json* const kNull = new json;
  return object.is_object() && object.contains(key) ? object[key] : *kNull;
}

// With so many digits after the point.
std::string Number(const json& value, int digits) {
  return value.is_number() ? absl::StrFormat("%.*f", digits, value.get<double>()) : "-";
}

// Figures of the task, one a row: those that are single numbers.
std::string Figures(const json& evaluation) {
  const json& before = At(evaluation, "before");
  const json& after = At(evaluation, "after");
  if (!before.is_object() && !after.is_object()) return "";
  const json& named = before.is_object() ? before : after;
  Rows rows = {{"", "before", "after", "change"}};
  for (const auto& [key, value] : named.items()) {
    if (!value.is_number_float()) continue;
    const json& change = At(At(evaluation, "change"), key.c_str());
    rows.push_back({key, Number(At(before, key.c_str()), 4), Number(At(after, key.c_str()), 4),
                    change.is_number() ? absl::StrFormat("%+.4f", change.get<double>()) : "-"});
  }
  return rows.size() == 1 ? "" : AlignColumns(rows, 1);
}

std::string Fidelity(const json& evaluation) {
  const json& outputs = At(evaluation, "fidelity");
  if (!outputs.is_object() || outputs.empty()) return "";
  Rows rows = {{"output", "SQNR dB", "cosine", "max abs error", "same top-1"}};
  for (const auto& [name, output] : outputs.items()) {
    const json& error = At(output, "max_abs_error");
    const bool equal = error.is_number() && error.get<double>() == 0;
    rows.push_back({ShortenMiddle(name, kMaxName),
                    equal ? "equal" : Number(At(output, "sqnr_db"), 1),
                    Number(At(output, "cosine"), 6),
                    error.is_number() ? absl::StrFormat("%.3g", error.get<double>()) : "-",
                    Number(At(output, "top1_agreement"), 4)});
  }
  return absl::StrCat("\n", AlignColumns(rows, 1));
}

std::string Evaluation(const json& report) {
  const json& evaluation = At(report, "evaluation");
  if (!evaluation.is_object()) return "";
  const json& why = At(evaluation, "not_evaluated");
  if (why.is_string()) return absl::StrCat("\nnot evaluated: ", why.get<std::string>(), "\n");
  const json& task = At(evaluation, "task");
  std::string out =
      absl::StrCat("\n", task.is_string() ? task.get<std::string>() : "outputs compared", " on ",
                   At(evaluation, "examples").dump(), " examples\n", Figures(evaluation));
  const json& significance = At(evaluation, "significance");
  if (significance.is_string() && !significance.get<std::string>().empty()) {
    absl::StrAppend(&out, significance.get<std::string>(), "\n");
  }
  absl::StrAppend(&out, Fidelity(evaluation));
  for (const json& warning : At(evaluation, "warnings")) {
    if (warning.is_string()) absl::StrAppend(&out, "  ", warning.get<std::string>(), "\n");
  }
  return out;
}

std::string WorstLayers(const json& report) {
  std::vector<const json*> measured;
  for (const json& layer : At(report, "layers")) {
    if (At(layer, "isolated_sqnr_db").is_number()) measured.push_back(&layer);
  }
  if (measured.empty()) return "";
  std::stable_sort(measured.begin(), measured.end(), [](const json* a, const json* b) {
    return (*a)["isolated_sqnr_db"].get<double>() < (*b)["isolated_sqnr_db"].get<double>();
  });
  if (measured.size() > kWorstLayers) measured.resize(kWorstLayers);
  Rows rows = {{"layers whose output loses most", "alone, SQNR dB", "all up to it"}};
  for (const json* layer : measured) {
    rows.push_back({ShortenMiddle(At(*layer, "name").get<std::string>(), kMaxName),
                    Number(At(*layer, "isolated_sqnr_db"), 1),
                    Number(At(*layer, "output_sqnr_db"), 1)});
  }
  return absl::StrCat("\n", AlignColumns(rows, 1));
}

// "0.412 ms before, 0.201 ms after (0.49 times)".
std::string Times(const json& latency) {
  const json& before = At(latency, "before_ms");
  const json& after = At(latency, "after_ms");
  const json& ratio = At(latency, "ratio");
  if (!after.is_number()) return absl::StrCat(Number(before, 3), " ms");
  if (!before.is_number()) return absl::StrCat(Number(after, 3), " ms after");
  return absl::StrCat(Number(before, 3), " ms before, ", Number(after, 3), " ms after (",
                      Number(ratio, 2), " times)");
}

// What ONNX Runtime says, where it was asked; why not stands among the warnings.
std::string RuntimeLine(const json& runtime) {
  if (!At(runtime, "before_ms").is_number() && !At(runtime, "after_ms").is_number()) return "";
  return absl::StrCat("in ONNX Runtime ", At(runtime, "version").get<std::string>(), ": ",
                      Times(runtime), "\n");
}

std::string LatencyLine(const json& report) {
  const json& latency = At(report, "latency");
  if (!latency.is_object()) return "";
  const std::string runtime = RuntimeLine(At(latency, "onnxruntime"));
  const bool own = At(latency, "before_ms").is_number();
  if (!own && runtime.empty()) return "";
  const json& batch = At(own ? latency : At(latency, "onnxruntime"), "batch");
  return absl::StrCat("\na run of ", batch.dump(), " examples on one thread",
                      own ? absl::StrCat(": ", Times(latency), "\n") : " ", runtime);
}

std::string Constraints(const json& report) {
  const json& constraints = At(report, "constraints");
  if (!constraints.is_array() || constraints.empty()) return "";
  std::string out = "\nconstraints\n";
  for (const json& constraint : constraints) {
    absl::StrAppend(&out, "  ", At(constraint, "met") == true ? "met:    " : "MISSED: ",
                    At(constraint, "name").get<std::string>(), ": ",
                    At(constraint, "explanation").get<std::string>(), "\n");
  }
  return out;
}

}  // namespace

std::string EvaluationText(const json& report) {
  return absl::StrCat(Evaluation(report), WorstLayers(report), LatencyLine(report),
                      Constraints(report));
}

}  // namespace lathe::engine
