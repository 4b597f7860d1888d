// What an operator's arithmetic sees while the model runs: its inputs, and where its outputs go.
#ifndef LATHE_WORKER_ENGINE_OPS_FORWARD_RUN_CONTEXT_H_
#define LATHE_WORKER_ENGINE_OPS_FORWARD_RUN_CONTEXT_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/engine/graph/model.h"
#include "worker/engine/ops/op_table.h"
#include "worker/engine/ops/value_fact.h"
#include "worker/engine/tensor/activation_memory.h"
#include "worker/engine/tensor/value.h"

namespace lathe::engine {

class Backend;

// What an operator keeps from run to run for one node: packed weights, primitives by shape. Its
// memory is its own, never the context's.
class NodeState {
 public:
  virtual ~NodeState() = default;
};

// What the context of one node is made of (filled in by the executor).
struct NodeCall {
  const Node* node = nullptr;
  int64_t opset = 0;             // of the node's domain
  const OpRule* rule = nullptr;  // nullptr: outputs are declared by the operator alone
  std::span<Value> inputs;       // one a node input; kNone where left out
  // Facts of inputs that are constants of the model; nullptr for others.
  std::span<const ValueFact* const> constants;
  std::span<Value> outputs;  // one a node output
  ActivationMemory* memory = nullptr;
  Backend* backend = nullptr;
  std::unique_ptr<NodeState>* state = nullptr;
  // Whether the run is to be stopped; nullptr, or empty: never.
  const std::function<bool()>* cancelled = nullptr;
};

class RunContext {
 public:
  explicit RunContext(const NodeCall& call) : call_(call) {}

  const Node& node() const { return *call_.node; }
  int64_t opset() const { return call_.opset; }

  size_t input_count() const { return call_.inputs.size(); }
  std::span<const Value> inputs() const { return call_.inputs; }
  // Whether input `i` is given.
  bool Has(size_t i) const {
    return i < call_.inputs.size() && call_.inputs[i].kind != Value::Kind::kNone;
  }
  // Input `i`; an empty value when it is not given.
  const Value& In(size_t i) const;
  template <typename T>
  std::span<const T> Data(size_t i) const {
    return In(i).As<T>();
  }
  // Whether input `i` is a constant of the model: the same in every run of this node.
  bool IsConstant(size_t i) const {
    return i < call_.constants.size() && call_.constants[i] != nullptr;
  }
  // The elements of input `i` as integers (of any integer type or bool); INVALID_ARGUMENT when it
  // is missing or of another type. For shapes, axes, counts.
  absl::StatusOr<std::vector<int64_t>> Ints(size_t i) const;
  // The first element of input `i`, of any numeric type; `fallback` when it is not given.
  double Scalar(size_t i, double fallback) const;

  size_t output_count() const { return call_.outputs.size(); }
  // Whether anybody reads output `i`.
  bool Wants(size_t i) const {
    return i < call_.node->outputs.size() && !call_.node->outputs[i].empty();
  }

  // Output `i` with type and shape by the operator's shape rule for these inputs, its memory not
  // yet written. INVALID_ARGUMENT when the inputs do not fit together. For outputs whose shape only
  // the data decide, give the shape yourself.
  absl::StatusOr<Value*> Out(size_t i);
  absl::StatusOr<Value*> Out(size_t i, DType dtype, Shape dims, Layout layout = Layout::kPlain);
  // As Out(i), in the memory of input `input` when nobody else needs it any more and it is of the
  // same size in bytes: then the output's data pointer equals the input's. Write element k only
  // after element k of that input was read for the last time.
  absl::StatusOr<Value*> OutInPlace(size_t i, size_t input);
  absl::StatusOr<Value*> OutInPlace(size_t i, size_t input, DType dtype, Shape dims,
                                    Layout layout = Layout::kPlain);
  // Makes output `i` this value: an input's memory under another shape, strings, a sequence.
  void Set(size_t i, Value value);
  // Type and shape of output `i` by the shape rule, without memory.
  absl::StatusOr<const ValueFact*> Inferred(size_t i);

  // Memory for the length of this call, aligned to kBlockAlignment.
  absl::StatusOr<std::shared_ptr<Buffer>> Scratch(int64_t bytes);
  ActivationMemory& memory() { return *call_.memory; }

  // This node's state, made on first use.
  template <typename T>
  T& State() {
    if (*call_.state == nullptr) *call_.state = std::make_unique<T>();
    return static_cast<T&>(**call_.state);
  }
  Backend& backend() { return *call_.backend; }

  // Says that about so many elementary steps are about to be done; now and then (every few
  // milliseconds of such steps) it asks whether the run was stopped, and gives CANCELLED if so. For
  // loops whose length the data decide.
  absl::Status Spend(int64_t steps);

  // An error that says which operator, what, and the inputs' types and shapes.
  absl::Status Error(const std::string& what) const;
  // UNIMPLEMENTED: a form of the operator that is not supported.
  absl::Status Unsupported(const std::string& what) const;

 private:
  absl::Status InferAll();

  const NodeCall& call_;
  std::optional<std::vector<ValueFact>> inferred_;
  int64_t spent_ = 0;  // since it was last asked
};

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_OPS_FORWARD_RUN_CONTEXT_H_
