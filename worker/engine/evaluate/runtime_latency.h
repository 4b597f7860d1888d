// How long a run takes in another runtime, and whether that loads the models at all.
#ifndef LATHE_WORKER_ENGINE_EVALUATE_RUNTIME_LATENCY_H_
#define LATHE_WORKER_ENGINE_EVALUATE_RUNTIME_LATENCY_H_

#include <cstdint>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/engine/evaluate/runtime_probe.h"
#include "worker/engine/tensor/value.h"

namespace lathe::engine {

// A model's file, as the runtime reads it.
struct RuntimeModel {
  std::string path;              // absolute; "": there is no such model
  int64_t file_bytes = 0;        // with its external data
  int64_t activation_bytes = 0;  // of a run; 0: not known
};

struct RuntimeLatencyRequest {
  // Gives the runtime, which stays the caller's. Called once.
  std::function<absl::StatusOr<RuntimeProbe*>()> runtime;
  RuntimeModel before;
  RuntimeModel after;
  const std::map<std::string, Value>* inputs = nullptr;  // of one run
  int64_t examples = 0;                                  // in `inputs`
  int threads = 1;
  std::function<double()> seconds;  // a steady clock
  std::function<bool()> cancelled;  // may be empty
};

// `latency.onnxruntime` of docs/report.md. What the runtime refuses is no error but told there,
// in `before_error`, `after_error` or `not_measured`. Errors: CANCELLED.
absl::StatusOr<nlohmann::json> MeasureInRuntime(const RuntimeLatencyRequest& request);

// What of such a figure a reader must not miss: models that the runtime cannot load or run, a line
// each.
std::vector<std::string> RuntimeWarnings(const nlohmann::json& figure);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_EVALUATE_RUNTIME_LATENCY_H_
