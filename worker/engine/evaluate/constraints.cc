#include "worker/engine/evaluate/constraints.h"

#include <algorithm>

#include "absl/strings/str_cat.h"

namespace lathe::engine {
namespace {

using nlohmann::json;

// The number at a path of keys; nullopt when it is missing or null.
std::optional<double> NumberAt(const json& report, std::initializer_list<const char*> path) {
  const json* at = &report;
  for (const char* key : path) {
    if (!at->is_object() || !at->contains(key)) return std::nullopt;
    at = &(*at)[key];
  }
  return at->is_number() ? std::optional<double>(at->get<double>()) : std::nullopt;
}

// A figure, and what is said of it.
struct Found {
  std::optional<double> value;
  std::string text;
};

Found AccuracyDrop(const json& report) {
  const auto before = NumberAt(report, {"evaluation", "before", "accuracy"});
  const auto after = NumberAt(report, {"evaluation", "after", "accuracy"});
  if (!before || !after) {
    return {std::nullopt, "there is no accuracy: it takes data with class labels (--data)"};
  }
  const double drop = *before - *after;
  return {drop, absl::StrCat("accuracy fell by ", drop, " (from ", *before, " to ", *after, ")")};
}

Found SmallestSqnr(const json& report) {
  const auto evaluation = report.find("evaluation");
  if (evaluation == report.end() || !evaluation->contains("fidelity")) {
    return {std::nullopt, "outputs were not compared: it takes data (--data)"};
  }
  // An output that is equal to the last bit has none.
  Found found{1e9, "every output is equal"};
  for (const auto& [name, output] : (*evaluation)["fidelity"].items()) {
    const auto sqnr = NumberAt(output, {"sqnr_db"});
    if (!sqnr || *sqnr >= *found.value) continue;
    found = {*sqnr, absl::StrCat("output '", name, "' has ", *sqnr, " dB")};
  }
  return found;
}

// ONNX Runtime is where users will run the model: where it was asked, its answer counts. Without
// a ratio there, because it could not load the original, the executor's is taken.
Found LatencyRatio(const json& report) {
  const json none = json::object();
  const json& latency = report.contains("latency") ? report["latency"] : none;
  const json& runtime = latency.contains("onnxruntime") ? latency["onnxruntime"] : none;
  const std::string name = absl::StrCat("ONNX Runtime ", runtime.value("version", std::string()));
  if (const auto ratio = NumberAt(runtime, {"ratio"})) {
    return {*ratio, absl::StrCat("a run in ", name, " takes ", *ratio, " times as long as before")};
  }
  if (runtime.contains("after_error") && !runtime.contains("before_error")) {
    return {std::nullopt,
            absl::StrCat("in ", name, ", which takes the original, the compressed model ",
                         runtime["after_error"].get<std::string>())};
  }
  const auto ratio = NumberAt(report, {"latency", "ratio"});
  if (!ratio) {
    return {std::nullopt, "latency was not measured: it takes data (--data), and evaluate.latency"};
  }
  return {*ratio,
          absl::StrCat("a run in Lathe's executor takes ", *ratio, " times as long as before")};
}

Found FileRatio(const json& report) {
  const auto before = NumberAt(report, {"before", "file_bytes"});
  const auto after = NumberAt(report, {"after", "file_bytes"});
  if (!before || !after || *before <= 0) return {std::nullopt, "the files were not measured"};
  return {*after / *before,
          absl::StrCat("the files take ", *after / *before, " of what they took")};
}

Found After(const json& report, const char* key, const char* what) {
  const auto value = NumberAt(report, {"after", key});
  if (!value) return {std::nullopt, absl::StrCat(what, " is not known")};
  return {*value, absl::StrCat(what, " is ", static_cast<int64_t>(*value))};
}

struct Rule {
  const char* name;
  bool at_most;
  Found (*find)(const json& report);
};

constexpr Rule kRules[] = {
    {"max_accuracy_drop", true, AccuracyDrop},
    {"max_file_bytes", true,
     [](const json& r) { return After(r, "file_bytes", "the size of the files"); }},
    {"max_file_ratio", true, FileRatio},
    {"max_latency_ratio", true, LatencyRatio},
    {"min_sqnr_db", false, SmallestSqnr},
    {"max_macs", true,
     [](const json& r) { return After(r, "macs", "the number of multiply-accumulates"); }},
    {"max_parameters", true,
     [](const json& r) { return After(r, "parameters", "the number of parameters"); }},
};

}  // namespace

std::vector<ConstraintResult> JudgeConstraints(const std::map<std::string, double>& limits,
                                               const json& report) {
  std::vector<ConstraintResult> results;
  for (const Rule& rule : kRules) {
    const auto limit = limits.find(rule.name);
    if (limit == limits.end()) continue;
    ConstraintResult result;
    result.name = rule.name;
    result.limit = limit->second;
    const Found found = rule.find(report);
    result.value = found.value;
    result.met =
        found.value && (rule.at_most ? *found.value <= result.limit : *found.value >= result.limit);
    result.explanation = found.text;
    if (found.value) {
      absl::StrAppend(&result.explanation, "; ", rule.at_most ? "at most " : "at least ",
                      result.limit, " is asked for");
    }
    results.push_back(std::move(result));
  }
  return results;
}

std::string MissedConstraints(const std::vector<ConstraintResult>& results) {
  std::string missed;
  for (const ConstraintResult& result : results) {
    if (result.met) continue;
    absl::StrAppend(&missed, missed.empty() ? "" : "; ", result.name, ": ", result.explanation);
  }
  return missed;
}

json ConstraintsJson(const std::vector<ConstraintResult>& results) {
  json out = json::array();
  for (const ConstraintResult& result : results) {
    out.push_back({{"name", result.name},
                   {"limit", result.limit},
                   {"value", result.value ? json(*result.value) : json(nullptr)},
                   {"met", result.met},
                   {"explanation", result.explanation}});
  }
  return out;
}

}  // namespace lathe::engine
