#include "worker/engine/run/batch_runner.h"

#include <algorithm>

namespace lathe::engine {

BatchRunner::BatchRunner(std::vector<const Model*> models, const ExecutorOptions& options,
                         Parallel& parallel, int lanes)
    : models_(std::move(models)),
      options_(options),
      parallel_(parallel),
      lanes_(static_cast<size_t>(lanes)),
      peaks_(models_.size(), -1) {}

absl::StatusOr<std::unique_ptr<BatchRunner>> BatchRunner::Make(std::vector<const Model*> models,
                                                               const ExecutorOptions& options,
                                                               Parallel& parallel, int lanes) {
  std::unique_ptr<BatchRunner> runner(
      new BatchRunner(std::move(models), options, parallel, std::max(lanes, 1)));
  RETURN_IF_ERROR(runner->MakeLane(&runner->lanes_[0]));
  return runner;
}

absl::Status BatchRunner::MakeLane(Lane* lane) const {
  if (!lane->executors.empty()) return absl::OkStatus();
  std::vector<std::unique_ptr<Executor>> executors;
  for (const Model* model : models_) {
    ASSIGN_OR_RETURN(std::unique_ptr<Executor> executor, Executor::Make(*model, options_));
    executors.push_back(std::move(executor));
  }
  lane->executors = std::move(executors);
  return absl::OkStatus();
}

absl::StatusOr<BatchRunner::Outputs> BatchRunner::RunLane(const Inputs& inputs, Lane* lane) const {
  RETURN_IF_ERROR(MakeLane(lane));
  Outputs outputs;
  lane->peaks.clear();
  for (const std::unique_ptr<Executor>& executor : lane->executors) {
    // Each executor has its own memory: what one has put out is kept while the next one runs.
    ASSIGN_OR_RETURN(std::vector<Value> values, executor->Run(inputs));
    outputs.push_back(std::move(values));
    lane->peaks.push_back(executor->peak_activation_bytes());
  }
  return outputs;
}

std::vector<absl::StatusOr<BatchRunner::Outputs>> BatchRunner::RunWave(
    const std::vector<const Inputs*>& inputs) {
  std::vector<absl::StatusOr<Outputs>> outputs(inputs.size(), absl::UnknownError("not run"));
  parallel_.Run(static_cast<int64_t>(inputs.size()), [&](int64_t i) {
    const auto at = static_cast<size_t>(i);
    outputs[at] = RunLane(*inputs[at], &lanes_[at]);
  });
  for (size_t i = 0; i < inputs.size(); ++i) {
    for (size_t m = 0; outputs[i].ok() && m < peaks_.size(); ++m) {
      peaks_[m] = std::max(peaks_[m], lanes_[i].peaks[m]);
    }
  }
  return outputs;
}

}  // namespace lathe::engine
