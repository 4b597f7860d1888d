#include "worker/engine/methods/integer_planner.h"

#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"

namespace lathe::engine {

IntegerPlanner::IntegerPlanner(const std::vector<IntegerUnit>& units, const Collected& seen,
                               const IntegerCost& cost, const IntegerOptions& options)
    : units_(units), cost_(cost), options_(options) {
  const bool symmetric = options.range.symmetric;
  std::map<std::string, double> limits;  // of values that a Clip bounds, or known ranges
  for (const IntegerUnit& unit : units) {
    if (unit.absorbed_limit > 0) limits[unit.result()] = unit.absorbed_limit;
    if (unit.unit_interval) limits[unit.result()] = 1;
  }
  const auto look = [&](const std::string& value) -> std::string {
    const auto found = seen.values.find(value);
    if (found == seen.values.end() || found->second.batches == 0) {
      return absl::StrCat("value '", value, "' is not float32, or no example reached it");
    }
    if (!found->second.finite) {
      return absl::StrCat("value '", value, "' was not finite for some example");
    }
    if (ranges_.count(value) != 0) return "";
    ValueRange range = ChooseRange(found->second, options.range);
    const auto limit = limits.find(value);
    if (limit != limits.end()) range.high = std::min(range.high, limit->second);
    ranges_[value] = MakeIntegerRange(range.low, range.high, options.range.bits, symmetric,
                                      options.powers_of_two);
    return "";
  };
  for (const IntegerUnit& unit : units) {
    std::string why = unit.not_static;
    for (const std::string& value : unit.inputs) {
      if (why.empty()) why = look(value);
    }
    for (const std::string& value : unit.results) {
      if (why.empty()) why = look(value);
    }
    why_not_.push_back(std::move(why));
  }
}

std::vector<UnitForm> IntegerPlanner::Spread(std::vector<UnitForm> forms,
                                             const std::vector<bool>& barred) const {
  // Begins with all, and takes back what has no integers to read or nobody to read its own.
  for (size_t u = 0; u < units_.size(); ++u) {
    if (units_[u].Linear()) continue;
    const bool possible = why_not_[u].empty() && !barred[u];
    forms[u] = possible ? UnitForm::kStatic : UnitForm::kFloat;
  }
  for (bool changed = true; changed;) {
    changed = false;
    std::set<std::string> produced;
    for (size_t u = 0; u < units_.size(); ++u) {
      if (forms[u] != UnitForm::kStatic) continue;
      bool keep = true;
      if (!units_[u].Linear()) {
        for (const std::string& input : units_[u].inputs) {
          keep = keep && produced.count(input) != 0;
        }
        bool read = false;
        for (const std::string& result : units_[u].results) {
          for (const int reader : cost_.Readers(result)) {
            read = read || (reader >= 0 && forms[static_cast<size_t>(reader)] == UnitForm::kStatic);
          }
        }
        keep = keep && read;
      }
      if (!keep) {
        forms[u] = UnitForm::kFloat;
        changed = true;
        continue;
      }
      if (units_[u].Linear() && !WritesIntegers(units_, forms, u)) continue;
      produced.insert(units_[u].results.begin(), units_[u].results.end());
    }
  }
  return forms;
}

IntegerPlan IntegerPlanner::Plan(const std::vector<UnitForm>& forms) const {
  IntegerPlan plan;
  plan.forms = forms;
  plan.weights = options_.weights;
  for (size_t u = 0; u < units_.size(); ++u) {
    if (forms[u] != UnitForm::kStatic) continue;
    const IntegerUnit& unit = units_[u];
    for (const std::string& input : unit.inputs) plan.ranges.emplace(input, ranges_.at(input));
    for (const std::string& result : unit.results) {
      // What is moved keeps its integers.
      plan.ranges[result] =
          unit.kind == UnitKind::kMove ? plan.ranges.at(unit.inputs[0]) : ranges_.at(result);
    }
  }
  return plan;
}

}  // namespace lathe::engine
