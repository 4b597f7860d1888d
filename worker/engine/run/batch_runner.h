// Runs models over batches on several threads; what comes out is consumed in the batches' order.
//
// There are lanes, one for each thread, and each has an executor of every model. A wave of batches,
// one for each lane, is read on the calling thread, run, and consumed on the calling thread in
// order. So neither the reader nor the consumer is called by two threads, and what the consumer
// sees does not depend on the number of lanes. Packed weights and activations are held once a lane;
// a lane is made when the first batch comes to it.
#ifndef LATHE_WORKER_ENGINE_RUN_BATCH_RUNNER_H_
#define LATHE_WORKER_ENGINE_RUN_BATCH_RUNNER_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/status_macros.h"
#include "worker/engine/graph/model.h"
#include "worker/engine/run/executor.h"
#include "worker/engine/tensor/parallel.h"
#include "worker/engine/tensor/value.h"

namespace lathe::engine {

class BatchRunner {
 public:
  using Inputs = std::map<std::string, Value>;
  // By model, that model's outputs in the order of its graph.
  using Outputs = std::vector<std::vector<Value>>;

  // `models` and `parallel` must outlive it. options.cancelled is asked by all threads at once; an
  // `observe` is an error of the caller's when there are several lanes. 1 <= lanes. Errors as
  // Executor::Make, of the first model that has any.
  static absl::StatusOr<std::unique_ptr<BatchRunner>> Make(std::vector<const Model*> models,
                                                           const ExecutorOptions& options,
                                                           Parallel& parallel, int lanes);

  // Calls next() until it gives nullopt, and consume(batch, outputs) for each batch in the order in
  // which they came; `batch.inputs` is what the models take, and must be valid for as long as the
  // batch is. The outputs are valid during the call, in which executor() may be used (the outputs
  // are not valid then). The first error, by the order of batches, of reading, running or consuming
  // ends it: what comes before it has been consumed.
  template <typename Batch>
  absl::Status Run(const std::function<absl::StatusOr<std::optional<Batch>>()>& next,
                   const std::function<absl::Status(Batch&, const Outputs&)>& consume) {
    while (true) {
      std::vector<Batch> wave;
      std::vector<const Inputs*> inputs;
      absl::Status end;  // why there are no more
      bool done = false;
      while (!done && wave.size() < lanes_.size()) {
        absl::StatusOr<std::optional<Batch>> batch = next();
        done = !batch.ok() || !batch->has_value();
        if (!batch.ok()) end = batch.status();
        if (!done) wave.push_back(**std::move(batch));
      }
      for (const Batch& batch : wave) inputs.push_back(&batch.inputs);
      std::vector<absl::StatusOr<Outputs>> outputs = RunWave(inputs);
      for (size_t i = 0; i < wave.size(); ++i) {
        RETURN_IF_ERROR(outputs[i].status());
        RETURN_IF_ERROR(consume(wave[i], *outputs[i]));
      }
      RETURN_IF_ERROR(end);
      if (done) return absl::OkStatus();
    }
  }

  // Of the first lane.
  Executor& executor(size_t model) { return *lanes_[0].executors[model]; }
  // Most bytes that a run of the model took in any lane; -1 before the first.
  int64_t peak_activation_bytes(size_t model) const { return peaks_[model]; }

 private:
  struct Lane {
    std::vector<std::unique_ptr<Executor>> executors;  // one a model; empty until it is used
    std::vector<int64_t> peaks;                        // of the last wave
  };

  BatchRunner(std::vector<const Model*> models, const ExecutorOptions& options, Parallel& parallel,
              int lanes);
  // One a batch, of which there are at most as many as lanes.
  std::vector<absl::StatusOr<Outputs>> RunWave(const std::vector<const Inputs*>& inputs);
  absl::Status MakeLane(Lane* lane) const;
  absl::StatusOr<Outputs> RunLane(const Inputs& inputs, Lane* lane) const;

  const std::vector<const Model*> models_;
  const ExecutorOptions options_;
  Parallel& parallel_;
  std::vector<Lane> lanes_;
  std::vector<int64_t> peaks_;  // one a model
};

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_RUN_BATCH_RUNNER_H_
