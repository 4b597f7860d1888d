// Runs models in ONNX Runtime through worker/ort/, for tests in other languages (part of
// lathe_test_tool).
#ifndef LATHE_TESTS_SUPPORT_ORT_TOOL_H_
#define LATHE_TESTS_SUPPORT_ORT_TOOL_H_

#include <string>
#include <vector>

#include "absl/status/status.h"

namespace lathe::engine {

// Arguments: LIBRARY [--none | --basic] [--threads N] [--optimized NAME] [--spare BYTES]
// FOLDER... Folders are as for RunModels (run_tool.h), with tensors alone. --none, --basic: less
// than all of the graph's optimizations; --optimized: the optimized graph goes to NAME in each
// folder; --spare: memory that may be taken, the model's files being counted. Prints one JSON
// object a folder: {"ok", "version", "outputs": names, "code", "error"}.
absl::Status RunInOrt(const std::vector<std::string>& args);

}  // namespace lathe::engine

#endif  // LATHE_TESTS_SUPPORT_ORT_TOOL_H_
