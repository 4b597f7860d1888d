#include "worker/engine/evaluate/latency.h"

#include <algorithm>
#include <cmath>

#include "common/status_macros.h"

namespace lathe::engine {
namespace {

RunTimes Summarize(const std::vector<double>& seconds) {
  return {Quantile(seconds, 0.5) * 1e3, Quantile(seconds, 0.1) * 1e3, Quantile(seconds, 0.9) * 1e3};
}

}  // namespace

double Quantile(std::vector<double> numbers, double share) {
  if (numbers.empty()) return 0;
  std::sort(numbers.begin(), numbers.end());
  const double at = std::clamp(share, 0.0, 1.0) * static_cast<double>(numbers.size() - 1);
  const auto below = static_cast<size_t>(std::floor(at));
  const size_t above = std::min(below + 1, numbers.size() - 1);
  const double fraction = at - static_cast<double>(below);
  return numbers[below] + fraction * (numbers[above] - numbers[below]);
}

absl::StatusOr<Latency> MeasureLatency(const std::function<absl::Status()>& before,
                                       const std::function<absl::Status()>& after,
                                       const std::function<double()>& seconds,
                                       const LatencyOptions& options) {
  for (int i = 0; i < options.warm_up_runs; ++i) {
    RETURN_IF_ERROR(before());
    RETURN_IF_ERROR(after());
  }
  std::vector<double> took_before;
  std::vector<double> took_after;
  const double start = seconds();
  for (int i = 0; i < options.max_runs; ++i) {
    if (i >= options.min_runs && seconds() - start > options.budget_seconds) break;
    // The first of a pair finds the caches as the other model left them: they take turns at it.
    for (const bool first : {true, false}) {
      const bool is_before = first == (i % 2 == 0);
      const double from = seconds();
      RETURN_IF_ERROR(is_before ? before() : after());
      (is_before ? took_before : took_after).push_back(seconds() - from);
    }
  }
  Latency latency;
  latency.runs = static_cast<int>(took_before.size());
  latency.before = Summarize(took_before);
  latency.after = Summarize(took_after);
  latency.ratio =
      latency.before.median_ms > 0 ? latency.after.median_ms / latency.before.median_ms : 0;
  return latency;
}

}  // namespace lathe::engine
