// What a job's report says of its own output.
#ifndef LATHE_WORKER_ENGINE_LINT_WARNINGS_H_
#define LATHE_WORKER_ENGINE_LINT_WARNINGS_H_

#include <string>
#include <vector>

#include "worker/engine/graph/model.h"
#include "worker/engine/ops/shape_inference.h"

namespace lathe::engine {

// A line for each error and each slow place (of the portable profiles) that `output` has and
// `input` has not; past twenty their number. Empty, or there is a bug in what wrote `output`.
std::vector<std::string> LintWarnings(const Model& input, const Model& output,
                                      const Bindings& bindings);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_LINT_WARNINGS_H_
