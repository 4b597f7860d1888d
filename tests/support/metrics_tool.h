// `lathe_test_tool metrics FOLDER`: the metrics of the engine on arrays that a test wrote.
#ifndef LATHE_TESTS_SUPPORT_METRICS_TOOL_H_
#define LATHE_TESTS_SUPPORT_METRICS_TOOL_H_

#include <string>

#include "absl/status/status.h"

namespace lathe::testing {

// Reads FOLDER/spec.json: {task, split, seed, resamples, options: {...}, batches: [{before:
// [array], after: [array] or absent, labels: {ids, values, weights: array, each optional} or
// absent}]}, array = {name, dims, file}, file holding raw little-endian float32, or int64 for ids.
// Prints the evaluation block as JSON.
absl::Status RunMetrics(const std::string& folder);

}  // namespace lathe::testing

#endif  // LATHE_TESTS_SUPPORT_METRICS_TOOL_H_
