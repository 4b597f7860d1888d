// Finds, by rules alone and without ONNX Runtime, every place of a model that a stock ONNX Runtime
// cannot load, computes wrongly or runs slower than it could. docs/lint.md has a row per rule.
#ifndef LATHE_WORKER_ENGINE_LINT_LINT_H_
#define LATHE_WORKER_ENGINE_LINT_LINT_H_

#include <nlohmann/json.hpp>
#include <vector>

#include "worker/engine/graph/model.h"
#include "worker/engine/lint/finding.h"
#include "worker/engine/ops/shape_inference.h"

namespace lathe::engine {

struct LintOptions {
  Profiles profiles = kEverywhere;  // findings that hold for none of these are left out
  Bindings bindings = {};           // sizes of symbolic dimensions, for shapes
};

// Deterministic: rules in their table's order, nodes in the model's. Never fails: what a rule
// cannot know, it does not report. Cost: linear in the nodes, and in the bytes of 8-bit weights
// whose sums are proven.
std::vector<Finding> LintModel(const Model& model, const LintOptions& options);

// Findings of `after` that `before` has not, at the same node by the same rule: what a compression
// brought in.
std::vector<Finding> NewFindings(const std::vector<Finding>& before,
                                 const std::vector<Finding>& after);

// {"rule", "severity", "node", "value", "message", "fix", "profiles"}: docs/report.md.
nlohmann::json FindingJson(const Finding& finding);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_LINT_LINT_H_
