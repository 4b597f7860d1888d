// Whole runs of the engine for tests in other languages (part of lathe_test_tool).
#ifndef LATHE_TESTS_SUPPORT_COMPRESS_TOOL_H_
#define LATHE_TESTS_SUPPORT_COMPRESS_TOOL_H_

#include <string>
#include <vector>

#include "absl/status/status.h"

namespace lathe::engine {

// Arguments: IN.onnx OUT_FOLDER RECIPE [--threads N] [--verbose] [ROLE=]DATA...
// Runs Compress and prints the report; the result is in OUT_FOLDER, which must exist and be empty.
absl::Status CompressModel(const std::vector<std::string>& args);

}  // namespace lathe::engine

#endif  // LATHE_TESTS_SUPPORT_COMPRESS_TOOL_H_
