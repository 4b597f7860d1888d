// The report as a table for terminals, made from its JSON so that the two cannot disagree.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "worker/engine/evaluate/report.h"

namespace lathe::engine {
namespace {

using nlohmann::json;

constexpr size_t kMaxRows = 60;
constexpr size_t kMaxName = 44;

std::string Grouped(int64_t value) {
  std::string digits = absl::StrCat(value);
  for (int at = static_cast<int>(digits.size()) - 3; at > (value < 0 ? 1 : 0); at -= 3)
    digits.insert(static_cast<size_t>(at), ",");
  return digits;
}

std::string Shorten(const std::string& name) {
  if (name.size() <= kMaxName) return name;
  const size_t side = (kMaxName - 3) / 2;
  return absl::StrCat(name.substr(0, side), "...", name.substr(name.size() - side));
}

std::string Align(const std::vector<std::vector<std::string>>& rows, size_t left_columns) {
  std::vector<size_t> widths;
  for (const auto& row : rows) {
    widths.resize(std::max(widths.size(), row.size()));
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string out;
  for (const auto& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      const std::string pad(widths[i] - row[i].size(), ' ');
      absl::StrAppend(&line, i == 0 ? "" : "  ", i < left_columns ? row[i] + pad : pad + row[i]);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + "\n";
  }
  return out;
}

std::string Number(const json& value, const char* format) {
  return value.is_number() ? absl::StrFormat(absl::ParsedFormat<'f'>(format), value.get<double>())
                           : "";
}

std::string Summary(const json& report) {
  std::vector<std::vector<std::string>> rows = {{"", "before", "after", "smaller by"}};
  const json& before = report["before"];
  const json& after = report["after"];
  for (const auto& [key, label] :
       std::vector<std::pair<const char*, const char*>>{{"file_bytes", "file bytes"},
                                                        {"gzip_bytes", "gzip bytes"},
                                                        {"weight_bytes", "weight bytes"},
                                                        {"parameters", "parameters"},
                                                        {"nonzero_parameters", "non-zero"},
                                                        {"macs", "MACs"},
                                                        {"energy_pj", "energy, pJ (estimate)"}}) {
    const double from = before[key].get<double>();
    const double to = after[key].get<double>();
    rows.push_back({label, Grouped(static_cast<int64_t>(from)), Grouped(static_cast<int64_t>(to)),
                    to > 0 ? absl::StrFormat("%.2fx", from / to) : ""});
  }
  return Align(rows, 1);
}

}  // namespace

std::string ReportText(const ReportInput& input) {
  const json report = json::parse(ReportJson(input));
  std::string out = Summary(report);
  std::vector<std::vector<std::string>> rows = {
      {"layer", "op", "what was done", "bytes before", "after", "SQNR dB"}};
  std::map<std::string, std::vector<std::string>> skipped;
  size_t done = 0;
  for (const json& layer : report["layers"]) {
    const std::string name = layer["name"].get<std::string>();
    if (!layer["skipped_reason"].is_null()) {
      skipped[layer["skipped_reason"].get<std::string>()].push_back(name);
      continue;
    }
    if (++done > kMaxRows) continue;
    rows.push_back(
        {Shorten(name), layer["op"].get<std::string>(), Shorten(layer["scheme"].get<std::string>()),
         Grouped(layer["bytes_before"].get<int64_t>()),
         Grouped(layer["bytes_after"].get<int64_t>()), Number(layer["sqnr_db"], "%.1f")});
  }
  if (done > 0) absl::StrAppend(&out, "\n", Align(rows, 3));
  if (done > kMaxRows)
    absl::StrAppend(&out, "... and ", done - kMaxRows, " more; all are in the JSON report\n");
  if (!skipped.empty()) absl::StrAppend(&out, "\nleft as they were:\n");
  for (auto& [reason, names] : skipped) {
    const size_t count = names.size();
    std::vector<std::string> shown;
    for (size_t i = 0; i < std::min<size_t>(count, 4); ++i) shown.push_back(Shorten(names[i]));
    absl::StrAppend(&out, "  ", count, count == 1 ? " layer: " : " layers: ", reason, " (",
                    absl::StrJoin(shown, ", "), count > shown.size() ? ", ..." : "", ")\n");
  }
  std::vector<std::string> notes;
  for (const json& step : report["steps"]) {
    for (const json& note : step["notes"])
      notes.push_back(
          absl::StrCat(step["method"].get<std::string>(), ": ", note.get<std::string>()));
  }
  for (const json& note : report["notes"]) notes.push_back(note.get<std::string>());
  if (!notes.empty()) absl::StrAppend(&out, "\nnotes:\n  ", absl::StrJoin(notes, "\n  "), "\n");
  if (!report["warnings"].empty()) {
    absl::StrAppend(&out, "\nwarnings:\n");
    for (const json& warning : report["warnings"])
      absl::StrAppend(&out, "  ", warning.get<std::string>(), "\n");
  }
  return out;
}

}  // namespace lathe::engine
