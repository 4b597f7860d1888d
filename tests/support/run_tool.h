// Runs models for tests in other languages (part of lathe_test_tool).
#ifndef LATHE_TESTS_SUPPORT_RUN_TOOL_H_
#define LATHE_TESTS_SUPPORT_RUN_TOOL_H_

#include <string>
#include <vector>

#include "absl/status/status.h"

namespace lathe::engine {

// Arguments: [--reference] [--plain] FOLDER... Each folder holds `model.onnx` and `inputs.onnx`, a
// model whose initializers are the inputs. Its graph's doc_string is JSON that says which inputs
// are sequences or optionals: {"x": {"sequence": 2}} of the initializers "x[0]" and "x[1]",
// {"y": {"optional": 0}}. Outputs go to `outputs.onnx` in the same form. Prints one JSON object a
// folder: {"ok", "error", "peak_bytes", "planned"}; every model is run twice, the second time
// within its memory plan. --reference: Eigen and OpenBLAS instead of oneDNN; --plain: node by node
// as written, nothing folded or fused.
absl::Status RunModels(const std::vector<std::string>& args);

// Arguments: [--reference] [--plain] [--profile] FOLDER, as above. Prints "ready" after three runs;
// then for each line "N" of standard input runs N times and prints the milliseconds of each, so
// that a benchmark can take turns with another runtime. --profile: instead of that, prints where
// the time of 20 runs went, by operator.
absl::Status TimeModel(const std::vector<std::string>& args);

}  // namespace lathe::engine

#endif  // LATHE_TESTS_SUPPORT_RUN_TOOL_H_
