#include "worker/engine/evaluate/report_text_cost.h"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "worker/engine/evaluate/text_table.h"

namespace lathe::engine {
namespace {

using nlohmann::json;
using Rows = std::vector<std::vector<std::string>>;

constexpr size_t kMaxOperators = 6;

double EnergyOf(const json& model, const std::string& op) {
  const json& by_op = model["energy_by_op"];
  if (!by_op.contains(op)) return 0;
  return by_op[op]["compute_pj"].get<double>() + by_op[op]["memory_pj"].get<double>();
}

std::string Count(const json& by_op, const std::string& op) {
  return by_op.contains(op) ? GroupDigits(by_op[op].get<int64_t>()) : "-";
}

}  // namespace

std::string OperatorCostText(const json& report) {
  std::vector<const json*> models = {&report["before"]};
  if (report.contains("after")) models.push_back(&report["after"]);
  std::map<std::string, double> energies;
  for (const json* model : models) {
    for (const auto& [op, parts] : (*model)["energy_by_op"].items()) {
      energies[op] = std::max(energies[op], EnergyOf(*model, op));
    }
  }
  if (energies.empty()) return "";
  std::vector<std::pair<std::string, double>> worst(energies.begin(), energies.end());
  std::stable_sort(worst.begin(), worst.end(),
                   [](const auto& a, const auto& b) { return a.second > b.second; });
  const size_t shown = std::min(worst.size(), kMaxOperators);
  Rows rows = {{"operators that take most energy", "MACs"}};
  const bool two = models.size() > 1;
  if (two) rows[0].push_back("after");
  rows[0].push_back("bytes moved");
  if (two) rows[0].push_back("after");
  rows[0].push_back("energy, nJ");
  if (two) rows[0].push_back("after");
  for (size_t i = 0; i < shown; ++i) {
    const std::string& op = worst[i].first;
    std::vector<std::string> row = {op};
    for (const json* model : models) row.push_back(Count((*model)["macs_by_op"], op));
    for (const json* model : models) row.push_back(Count((*model)["bytes_moved_by_op"], op));
    for (const json* model : models) {
      row.push_back(absl::StrFormat("%.1f", EnergyOf(*model, op) / 1e3));
    }
    rows.push_back(std::move(row));
  }
  return absl::StrCat("\n", AlignColumns(rows, 1));
}

std::string TraceText(const json& report) {
  if (!report.contains("trace")) return "";
  const json& trace = report["trace"];
  std::string figure;
  for (const json& point : trace) {
    if (point["figure"].is_string()) figure = point["figure"].get<std::string>();
  }
  Rows rows = {{"step by step", "file bytes", figure}};
  for (const json& point : trace) {
    const bool original = point["step"].is_null();
    const json& value = point["value"];
    rows.push_back({original ? "original"
                             : absl::StrCat(point["step"].get<int64_t>() + 1, ". ",
                                            point["method"].get<std::string>()),
                    GroupDigits(point["file_bytes"].get<int64_t>()),
                    value.is_number() ? absl::StrFormat("%.4f", value.get<double>()) : "-"});
  }
  return absl::StrCat("\n", AlignColumns(rows, 1));
}

}  // namespace lathe::engine
