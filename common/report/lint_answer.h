// What `lathe lint` answers, from a model summary.
#ifndef LATHE_COMMON_REPORT_LINT_ANSWER_H_
#define LATHE_COMMON_REPORT_LINT_ANSWER_H_

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace lathe {

struct LintAnswer {
  bool clean = true;    // neither errors nor slow places
  std::string text;     // for people: by rule, errors first
  nlohmann::json json;  // {"target", "errors", "slow", "notes", "findings": [...]}
};

// Where a model will run: "portable" (vnni, avx2 and arm alike), "vnni", "avx2", "arm", "npu",
// "microcontroller".
const std::vector<std::string>& LintTargets();

// The findings of `summary` (docs/report.md, "Model summary") that hold for a target. A summary of
// an unexpected shape has no findings.
LintAnswer AnswerLint(const nlohmann::json& summary, const std::string& target);

}  // namespace lathe

#endif  // LATHE_COMMON_REPORT_LINT_ANSWER_H_
