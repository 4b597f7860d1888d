// Runs a model, or two side by side, over data, and tells how good they are and how long they take.
#ifndef LATHE_WORKER_ENGINE_EVALUATE_EVALUATION_H_
#define LATHE_WORKER_ENGINE_EVALUATE_EVALUATION_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/engine/evaluate/diagnosis.h"
#include "worker/engine/evaluate/metrics/arrays.h"
#include "worker/engine/evaluate/metrics/paired_evaluation.h"
#include "worker/engine/evaluate/runtime_latency.h"
#include "worker/engine/graph/model.h"
#include "worker/engine/tensor/parallel.h"
#include "worker/engine/tensor/value.h"

namespace lathe::engine {

// Some examples, for one run of a model.
struct ExampleBatch {
  int64_t examples = 0;
  int64_t rows = 0;  // of the inputs' batch axis: more than `examples` where the model fixes it
  std::map<std::string, Value> inputs;
  std::optional<LabelBatch> labels;
  std::shared_ptr<const void> held;  // what inputs and labels point into
};

// Gives one batch after the other; nullopt after the last.
using NextBatch = std::function<absl::StatusOr<std::optional<ExampleBatch>>()>;

struct EvaluationRequest {
  Model* model = nullptr;           // as it was
  const Model* compared = nullptr;  // what has become of it, or another one; null: one model alone
  bool compressed = false;  // `compared` came from `model` by methods: layers can be matched
  NextBatch test;
  // What the batches are run on; nullptr: the calling thread. The outcome is the same for any
  // number of threads, but for latency.
  Parallel* parallel = nullptr;
  PairedOptions metrics;
  bool measure_latency = true;
  bool diagnose = true;             // layer by layer, where `compressed`
  std::function<bool()> cancelled;  // asked by several threads at once
  std::function<double()> seconds;  // a steady clock; without it there is no latency
  // Called with the number of examples done.
  std::function<void(int64_t)> progress;
  std::string processor;  // what it runs on, for the report; may be empty
  // Another runtime to measure latency in; empty: none. `after_file` has no path for one model
  // alone.
  std::function<absl::StatusOr<RuntimeProbe*>()> runtime;
  RuntimeModel before_file;
  RuntimeModel after_file;
};

struct EvaluationOutcome {
  // docs/report.md; null when there is none. `evaluation` may hold nothing but `not_evaluated`:
  // why.
  nlohmann::json evaluation;
  nlohmann::json latency;
  std::vector<LayerDiagnosis> layers;
  // Most bytes that activations took at once, for a batch; -1: not known.
  int64_t peak_activation_bytes_before = -1;
  int64_t peak_activation_bytes_after = -1;
  std::vector<std::string> warnings;
};

// A model with an operator that the engine cannot run is not an error: the outcome says which node.
// Errors: INVALID_ARGUMENT with reason INVALID_DATASET (data that do not fit the model or the
// task) or INVALID_RECIPE (an output that the model has not), CANCELLED, RESOURCE_EXHAUSTED.
absl::StatusOr<EvaluationOutcome> RunEvaluation(const EvaluationRequest& request);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_EVALUATE_EVALUATION_H_
