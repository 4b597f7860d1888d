// A change in words: noise, or more than that.
#ifndef LATHE_WORKER_ENGINE_EVALUATE_METRICS_SIGNIFICANCE_H_
#define LATHE_WORKER_ENGINE_EVALUATE_METRICS_SIGNIFICANCE_H_

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace lathe::engine {

// Changes with a smaller p-value are called real.
inline constexpr double kSignificanceLevel = 0.05;

// "0.2 % lower on 500 examples: within noise (p = 0.75)", "3.1 % lower on 500 examples: a real
// change (p = 0.0002)", "no change on 500 examples". The change is in percentage points of a share.
std::string ShareSentence(double change, int64_t examples, double p_value);

// "mae 0.0132 higher on 500 examples: within noise (p = 0.31)".
std::string FigureSentence(absl::string_view figure, double change, int64_t examples,
                           double p_value);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_EVALUATE_METRICS_SIGNIFICANCE_H_
