#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "worker/engine/evaluate/report.h"
#include "worker/engine/evaluate/report_text_cost.h"
#include "worker/engine/evaluate/report_text_evaluation.h"
#include "worker/engine/evaluate/report_training.h"
#include "worker/engine/evaluate/text_table.h"

namespace lathe::engine {
namespace {

using nlohmann::json;

constexpr size_t kMaxRows = 60;
constexpr size_t kMaxName = 44;
constexpr size_t kMaxScheme = 52;
constexpr size_t kMaxNamesOfReason = 4;

std::string Text(const json& value) { return value.is_string() ? value.get<std::string>() : ""; }

std::string Strings(const json& list) {
  std::vector<std::string> parts;
  for (const json& item : list) parts.push_back(Text(item));
  return absl::StrJoin(parts, ", ");
}

std::string Rounded(const json& value, const char* unit = "") {
  if (!value.is_number()) return "-";
  return absl::StrFormat("%.1f%s", value.get<double>(), unit);
}

std::string Summary(const json& report) {
  struct Line {
    const char* key;
    const char* label;
  };
  constexpr Line kLines[] = {
      {"file_bytes", "file bytes"},
      {"gzip_bytes", "gzip bytes"},
      {"weight_bytes", "weight bytes"},
      {"parameters", "parameters"},
      {"nonzero_parameters", "non-zero parameters"},
      {"macs", "MACs"},
      {"bytes_moved", "bytes moved"},
      {"energy_pj", "energy, pJ (estimate)"},
  };
  // An evaluation of one model has nothing to compare.
  const bool two = report.contains("after");
  std::vector<std::vector<std::string>> rows = {{"", "before", "after", "ratio"}};
  if (!two) rows = {{"", "model"}};
  for (const Line& line : kLines) {
    const auto number = [&](const char* side) {
      const double value = report[side][line.key].get<double>();
      return value < 9e18 ? GroupDigits(static_cast<int64_t>(value))
                          : absl::StrFormat("%.3g", value);
    };
    if (!two) {
      rows.push_back({line.label, number("before")});
      continue;
    }
    const json& ratio = report["ratios"][line.key];
    rows.push_back({line.label, number("before"), number("after"),
                    ratio.is_number() ? absl::StrFormat("%.2fx", ratio.get<double>()) : "-"});
  }
  const auto intensity = [&report](const char* side) {
    const json& value = report[side]["arithmetic_intensity"];
    return value.is_number() ? absl::StrFormat("%.2f", value.get<double>()) : "-";
  };
  rows.push_back({"operations a byte moved", intensity("before")});
  if (two) rows.back().push_back(intensity("after"));
  return AlignColumns(rows, 1);
}

std::string Layers(const json& report) {
  std::vector<std::vector<std::string>> rows = {
      {"layer", "op", "what was done", "bytes before", "after", "SQNR dB", "zeros"}};
  size_t done = 0;
  for (const json& layer : report["layers"]) {
    if (!layer["skipped_reason"].is_null() || ++done > kMaxRows) continue;
    const json& zeros = layer["sparsity"];
    const json& error = layer["relative_error"];
    const bool exact = error.is_number() && error.get<double>() == 0;
    rows.push_back(
        {ShortenMiddle(Text(layer["name"]), kMaxName), Text(layer["op"]),
         ShortenMiddle(Text(layer["scheme"]), kMaxScheme),
         GroupDigits(layer["bytes_before"].get<int64_t>()),
         GroupDigits(layer["bytes_after"].get<int64_t>()),
         exact ? "exact" : Rounded(layer["sqnr_db"]),
         zeros.is_number() ? absl::StrFormat("%.1f%%", 100 * zeros.get<double>()) : "-"});
  }
  if (done == 0) return "";
  std::string out = absl::StrCat("\n", AlignColumns(rows, 3));
  if (done > kMaxRows) {
    absl::StrAppend(&out, "... and ", done - kMaxRows, " more; the JSON report has them all\n");
  }
  return out;
}

std::string Skipped(const json& report) {
  std::map<std::string, std::vector<std::string>> by_reason;
  for (const json& layer : report["layers"]) {
    if (!layer["skipped_reason"].is_null()) {
      by_reason[Text(layer["skipped_reason"])].push_back(Text(layer["name"]));
    }
  }
  if (by_reason.empty()) return "";
  std::string out = "\nleft as they were\n";
  for (const auto& [reason, names] : by_reason) {
    std::vector<std::string> shown;
    for (size_t i = 0; i < std::min(names.size(), kMaxNamesOfReason); ++i) {
      shown.push_back(ShortenMiddle(names[i], kMaxName));
    }
    absl::StrAppend(&out, "  ", names.size(), names.size() == 1 ? " layer: " : " layers: ", reason,
                    " (", absl::StrJoin(shown, ", "), names.size() > shown.size() ? ", ..." : "",
                    ")\n");
  }
  return out;
}

std::string Lines(const char* title, const std::vector<std::string>& lines) {
  if (lines.empty()) return "";
  return absl::StrCat("\n", title, "\n  ", absl::StrJoin(lines, "\n  "), "\n");
}

// What the figures rest on.
void AddAssumptions(const json& report, std::vector<std::string>* notes) {
  if (!report["bindings"].empty()) {
    std::vector<std::string> sizes;
    for (const auto& [name, size] : report["bindings"].items()) {
      sizes.push_back(absl::StrCat(name, "=", size.get<int64_t>()));
    }
    const json& assumed = report["assumed_bindings"];
    notes->push_back(absl::StrCat(
        "MACs and energy hold for ", absl::StrJoin(sizes, ", "),
        assumed.empty() ? ""
                        : absl::StrCat("; not given, and so taken to be 1: ", Strings(assumed))));
  }
  const json& incomplete = report["before"]["macs_incomplete"];
  if (!incomplete.empty()) {
    notes->push_back(absl::StrCat("MACs of ", incomplete.size(),
                                  incomplete.size() == 1 ? " node" : " nodes",
                                  " are not known and not counted: ", Text(incomplete[0]),
                                  incomplete.size() > 1 ? ", ..." : ""));
  }
  for (const json& assumption : report["assumptions"]) {
    notes->push_back(absl::StrCat("assumed: ", Text(assumption)));
  }
  const bool sampled_after =
      report.contains("after") && report["after"]["gzip_sampled"].get<bool>();
  if (report["before"]["gzip_sampled"].get<bool>() || sampled_after) {
    notes->push_back("gzip bytes of large files are estimated from a sample");
  }
}

}  // namespace

std::string ReportText(const std::string& report_json) {
  const json report = json::parse(report_json);
  std::string out = absl::StrCat(Summary(report), OperatorCostText(report), EvaluationText(report),
                                 TraceText(report), Layers(report), Skipped(report));
  absl::StrAppend(&out, Lines("training", TrainingLines(report)));
  std::vector<std::string> notes;
  for (const json& step : report["steps"]) {
    for (const json& note : step["notes"]) {
      notes.push_back(absl::StrCat(Text(step["method"]), ": ", Text(note)));
    }
  }
  for (const json& note : report["notes"]) notes.push_back(Text(note));
  AddAssumptions(report, &notes);
  absl::StrAppend(&out, Lines("notes", notes));
  std::vector<std::string> warnings;
  for (const json& warning : report["warnings"]) warnings.push_back(Text(warning));
  absl::StrAppend(&out, Lines("warnings", warnings));
  std::vector<std::string> advice;
  if (report.contains("advice")) {
    for (const json& sentence : report["advice"]) advice.push_back(Text(sentence));
  }
  absl::StrAppend(&out, Lines("what to try next", advice));
  return out;
}

}  // namespace lathe::engine
