// Numbers as text and back, as Cast has them.
#ifndef LATHE_WORKER_ENGINE_OPS_FORWARD_CAST_TEXT_H_
#define LATHE_WORKER_ENGINE_OPS_FORWARD_CAST_TEXT_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "worker/engine/ops/forward/run_context.h"

namespace lathe::engine {

// One string an element of a tensor of a type of C++ (bool as uint8): 8 digits of a float, 17 of a
// double; "NaN", "INF", "-INF".
std::vector<std::string> NumbersToText(const Value& numbers);

// Numbers of out.dtype, a type of C++. Plain or scientific notation, "inf" and "nan" in any case;
// to integers what stands before the point. `to` is the cast's type: for bool what is not 0 is 1.
// INVALID_ARGUMENT for a string that is no number.
absl::Status TextToNumbers(const RunContext& ctx, const std::vector<std::string>& text, DType to,
                           Value& out);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_OPS_FORWARD_CAST_TEXT_H_
