// Runs a model forwards keeping what the backward rules need, then backwards: reverse-mode
// differentiation over the graph (Griewank and Walther 2008, chapter 3).
//
// A model's trained values are inputs of its graph (train/parameters.h makes them so); the tape
// gives the gradients with respect to them. A node that lies between a wanted input and an output
// is *active*; only active nodes are recorded. A gradient ends where an active node has no rule:
// Blocked() names those nodes, and Reaches() tells which inputs lie behind them.
//
// Memory is planned as the executor's (tensor/activation_memory.h): one run forwards and backwards
// is one plan, so a step with the shapes of an earlier one touches no new page.
#ifndef LATHE_WORKER_ENGINE_TRAIN_TAPE_H_
#define LATHE_WORKER_ENGINE_TRAIN_TAPE_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/engine/graph/model.h"
#include "worker/engine/kernels/backend.h"
#include "worker/engine/tensor/value.h"

namespace lathe::engine {

struct TapeOptions {
  BackendKind backend = BackendKind::kOneDnn;
  // Activations and gradients alive at once.
  int64_t max_activation_bytes = int64_t{16} << 30;
  // Asked now and then; true ends a run as CANCELLED.
  std::function<bool()> cancelled;
};

// A node that gradients would have to pass and cannot.
struct BlockedNode {
  const Node* node = nullptr;
  std::string reason;
};

// Not thread-safe: one tape a thread.
class Tape {
 public:
  // `model` must be valid and outlive the tape. `wanted`: names of float inputs of its graph.
  // Errors as Executor::Make.
  static absl::StatusOr<std::unique_ptr<Tape>> Make(const Model& model,
                                                    const std::vector<std::string>& wanted,
                                                    const TapeOptions& options);
  ~Tape();
  Tape(const Tape&) = delete;
  Tape& operator=(const Tape&) = delete;

  // Whether a gradient of some output reaches wanted input `i`.
  bool Reaches(size_t i) const;
  const std::vector<BlockedNode>& Blocked() const;
  const std::vector<std::string>& output_names() const;

  // Inputs by name, plain. The outputs are plain and valid until the next Forward. Errors as
  // Executor::Run.
  absl::StatusOr<std::vector<Value>> Forward(const std::map<std::string, Value>& inputs);
  // After a Forward, once. `grads`: one an output, float32 in that output's shape, kNone where the
  // loss does not read it. Returns the gradients of the wanted inputs, float32 and plain, kNone
  // where they are zero; valid until the next Forward.
  absl::StatusOr<std::vector<Value>> Backward(std::vector<Value> grads);
  // Memory of the run for what lies between the two, as the gradients of the outputs.
  absl::StatusOr<Value> NewValue(Shape dims);

  // Bytes that the last run forwards and backwards took at most.
  int64_t peak_bytes() const;

 private:
  struct Impl;
  explicit Tape(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_TRAIN_TAPE_H_
