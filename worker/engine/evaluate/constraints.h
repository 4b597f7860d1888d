// What a result must hold to be accepted.
#ifndef LATHE_WORKER_ENGINE_EVALUATE_CONSTRAINTS_H_
#define LATHE_WORKER_ENGINE_EVALUATE_CONSTRAINTS_H_

#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace lathe::engine {

struct ConstraintResult {
  std::string name;
  double limit = 0;
  std::optional<double> value;  // absent: could not be told
  bool met = false;
  // "accuracy fell by 0.031 (from 0.972 to 0.941); at most 0.01 is allowed", or why it could not be
  // told.
  std::string explanation;
};

// Judges each of `limits` (names of the recipe's `constraints`) by the figures of a report
// (docs/report.md). A constraint that the report has no figure for is not met. In the order of
// docs/recipes.md; names that are not known are left out.
std::vector<ConstraintResult> JudgeConstraints(const std::map<std::string, double>& limits,
                                               const nlohmann::json& report);

// "max_accuracy_drop: ...; max_file_bytes: ..." of those that are not met; "" when all are.
std::string MissedConstraints(const std::vector<ConstraintResult>& results);

// [{name, limit, value, met, explanation}].
nlohmann::json ConstraintsJson(const std::vector<ConstraintResult>& results);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_EVALUATE_CONSTRAINTS_H_
