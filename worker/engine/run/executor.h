// Runs a model.
//
// The model is compiled once: names become slots, constants are read where they lie, and every
// slot's last reader is known. A run walks the instructions in order on the calling thread; memory
// is planned by tensor/activation_memory.h. Operators are those of ops/forward.
#ifndef LATHE_WORKER_ENGINE_RUN_EXECUTOR_H_
#define LATHE_WORKER_ENGINE_RUN_EXECUTOR_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/engine/graph/model.h"
#include "worker/engine/kernels/backend.h"
#include "worker/engine/tensor/value.h"

namespace lathe::engine {

struct ExecutorOptions {
  BackendKind backend = BackendKind::kOneDnn;
  // Rewrites a copy of the model before it is compiled: constants folded, BatchNormalization folded
  // into convolutions, operators fused. Off: node by node as written.
  bool optimize = true;
  // Activations alive at once.
  int64_t max_activation_bytes = int64_t{16} << 30;
  // Nodes run in one Run, loops' iterations included: a bound on hostile or endless loops.
  int64_t max_node_visits = 50'000'000;
  // Asked now and then; true ends the run as CANCELLED. For time budgets too.
  std::function<bool()> cancelled;
  // Called after each node that runs, in order, with its inputs and outputs in plain layout; `node`
  // is of the model as it is run (as given when `optimize` is off). The values are valid during the
  // call. With it, nothing is computed in place. An error ends the run.
  std::function<absl::Status(const Node& node, std::span<const Value> inputs,
                             std::span<const Value> outputs)>
      observe;
};

class Executor {
 public:
  // `model` must be valid (graph/verifier.h) and outlive the executor. Errors: UNIMPLEMENTED with
  // reason UNSUPPORTED_OP, naming the nodes that cannot be run; INVALID_ARGUMENT for a graph that
  // cannot be resolved.
  static absl::StatusOr<std::unique_ptr<Executor>> Make(const Model& model,
                                                        const ExecutorOptions& options);
  ~Executor();
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  // Names of the inputs that a run needs, and of the outputs in their order.
  const std::vector<std::string>& input_names() const;
  const std::vector<std::string>& output_names() const;

  // One run. Inputs by name; those that the model has a constant for are ignored. The outputs are
  // in plain layout and valid until the next Run. Errors: INVALID_ARGUMENT (a missing input, one of
  // another type, inputs that do not fit a node; names the node), UNIMPLEMENTED (a form of an
  // operator), RESOURCE_EXHAUSTED (memory or node visits), CANCELLED.
  absl::StatusOr<std::vector<Value>> Run(const std::map<std::string, Value>& inputs);

  // Most bytes that the last run's activations took at once: its plan's size.
  int64_t peak_activation_bytes() const;
  // Whether the last run lay in a plan made before (same shapes as an earlier run).
  bool planned() const;

 private:
  struct Impl;
  explicit Executor(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_RUN_EXECUTOR_H_
