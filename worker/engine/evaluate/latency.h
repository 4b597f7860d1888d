// How long a run of a model takes here, before and after.
#ifndef LATHE_WORKER_ENGINE_EVALUATE_LATENCY_H_
#define LATHE_WORKER_ENGINE_EVALUATE_LATENCY_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace lathe::engine {

// Of one model, over the measured runs. Milliseconds.
struct RunTimes {
  double median_ms = 0;
  double p10_ms = 0;
  double p90_ms = 0;
};

struct Latency {
  int runs = 0;  // of each model
  RunTimes before;
  RunTimes after;
  double ratio = 0;  // after over before, of the medians
};

struct LatencyOptions {
  int warm_up_runs = 3;
  int min_runs = 5;
  int max_runs = 200;
  double budget_seconds = 1.5;  // of both models, warm-up left out; min_runs are done all the same
};

// Runs the two in turn, so that a machine that is busy for a while slows both. `seconds` is a
// steady clock. Errors are those of the runs.
absl::StatusOr<Latency> MeasureLatency(const std::function<absl::Status()>& before,
                                       const std::function<absl::Status()>& after,
                                       const std::function<double()>& seconds,
                                       const LatencyOptions& options = {});

// The `share` quantile (0 to 1) of some numbers by linear interpolation; 0 when there are none.
double Quantile(std::vector<double> numbers, double share);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_EVALUATE_LATENCY_H_
