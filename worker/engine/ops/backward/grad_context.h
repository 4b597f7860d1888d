// What an operator's backward rule sees: the node's inputs and outputs as the forward run left
// them, the gradient of the loss with respect to its outputs, and where the gradients with respect
// to its inputs go.
#ifndef LATHE_WORKER_ENGINE_OPS_BACKWARD_GRAD_CONTEXT_H_
#define LATHE_WORKER_ENGINE_OPS_BACKWARD_GRAD_CONTEXT_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/engine/graph/model.h"
#include "worker/engine/kernels/backend.h"
#include "worker/engine/ops/forward/run_context.h"
#include "worker/engine/tensor/activation_memory.h"
#include "worker/engine/tensor/value.h"

namespace lathe::engine {

// What the context of one node is made of (filled in by the tape).
struct GradCall {
  const Node* node = nullptr;
  int64_t opset = 0;        // of the node's domain
  std::span<Value> inputs;  // one a node input; kNone where left out
  // One a node output. Of values that the rule did not ask for (OpBackward::reads_*), type, shape
  // and layout are there and `data` is nullptr.
  std::span<Value> outputs;
  // float32; plain unless the rule says kTakesBlockedValues; kNone where the loss does not depend
  // on it.
  std::span<Value> output_grads;
  std::span<const bool> wanted;  // one an input: whether its gradient is
  std::span<Value> input_grads;  // one an input, to be filled in; kNone: zero
  ActivationMemory* memory = nullptr;
  Backend* backend = nullptr;
  std::unique_ptr<NodeState>* state = nullptr;  // the rule's own, apart from the forward run's
};

// The floats of a value in the order of its memory, padding included.
std::span<const float> Memory(const Value& value);

class GradContext {
 public:
  explicit GradContext(const GradCall& call) : call_(call) {}

  const Node& node() const { return *call_.node; }
  int64_t opset() const { return call_.opset; }

  size_t input_count() const { return call_.inputs.size(); }
  std::span<const Value> inputs() const { return call_.inputs; }
  bool Has(size_t i) const {
    return i < call_.inputs.size() && call_.inputs[i].kind != Value::Kind::kNone;
  }
  // Input `i` as float32 or as the integers that it holds; half and double floats come converted.
  const Value& In(size_t i) const { return Has(i) ? call_.inputs[i] : Nothing(); }
  const Value& Out(size_t i) const {
    return i < call_.outputs.size() ? call_.outputs[i] : Nothing();
  }
  const Shape& Dims(size_t i) const { return In(i).dims; }
  std::span<const float> X(size_t i) const { return In(i).As<float>(); }
  std::span<const float> Y(size_t i) const { return Out(i).As<float>(); }
  // The elements of integer input `i`; INVALID_ARGUMENT when it is missing or of another type.
  absl::StatusOr<std::vector<int64_t>> Ints(size_t i) const;
  // The first element of input `i`, of any numeric type; `fallback` when it is not given.
  double Scalar(size_t i, double fallback) const;

  // Whether the loss depends on output `i` (of those that are read), and by what gradient, in the
  // shape of that output.
  bool HasGrad(size_t i) const {
    return i < call_.output_grads.size() && call_.output_grads[i].IsTensor();
  }
  std::span<const float> Grad(size_t i) const { return call_.output_grads[i].As<float>(); }
  // The same with a blocked layout's padding, in the order of the memory.
  std::span<const float> GradMemory(size_t i) const { return Memory(call_.output_grads[i]); }
  const Value& GradValue(size_t i) const { return call_.output_grads[i]; }

  // For rules that take blocked values: leaves everything as it lies when all values that have
  // elements and the gradient of output 0 lie in its layout, but for those of one axis or none;
  // makes all of them plain otherwise.
  absl::Status Align();
  // Makes every value and gradient plain.
  absl::Status MakePlain();

  // Whether the gradient of input `i` is wanted. Emit none that is not.
  bool Wants(size_t i) const { return Has(i) && i < call_.wanted.size() && call_.wanted[i]; }
  // Memory for the gradient of input `i`, in its shape, not yet written; write all of it.
  absl::StatusOr<std::span<float>> Emit(size_t i);
  // The same, zero.
  absl::StatusOr<std::span<float>> EmitZeros(size_t i);
  // What Emit or EmitZeros gave for input `i`.
  std::span<float> Emitted(size_t i) { return call_.input_grads[i].Mutable<float>(); }
  // As Emit, in a layout: the elements in the order of the memory, padding included. Padding must
  // be written too, as zeros.
  absl::StatusOr<std::span<float>> EmitIn(size_t i, Layout layout);
  // As EmitIn with the layout of the gradient of output `o`, in its memory when nobody else needs
  // that: write element k only after GradMemory(o)[k] was read for the last time. Sizes must be
  // equal.
  absl::StatusOr<std::span<float>> EmitInPlace(size_t i, size_t o);
  // The gradient of input `i` is that of output `o`, element by element, in the input's shape.
  void Pass(size_t i, size_t o);
  // The gradient of input `i` is this float32 value, taken to be in the input's shape.
  void Set(size_t i, Value value);

  // Memory for the length of this call, aligned to kBlockAlignment.
  absl::StatusOr<std::shared_ptr<Buffer>> Scratch(int64_t bytes) {
    return call_.memory->Allocate(bytes);
  }
  // A float32 value, not yet written.
  absl::StatusOr<Value> NewValue(Shape dims, Layout layout = Layout::kPlain);

  // This rule's state for this node, made on first use.
  template <typename T>
  T& State() {
    if (*call_.state == nullptr) *call_.state = std::make_unique<T>();
    return static_cast<T&>(**call_.state);
  }
  Backend& backend() { return *call_.backend; }
  ActivationMemory& memory() { return *call_.memory; }

  // INVALID_ARGUMENT with the operator and its inputs; UNIMPLEMENTED for a form that has no rule.
  absl::Status Error(const std::string& what) const;
  absl::Status Unsupported(const std::string& what) const;

 private:
  static const Value& Nothing();

  const GradCall& call_;
};

// Sums `grad`, of shape `from`, over the axes along which a value of shape `to` was broadcast to
// `from` (numpy's rules); out has the elements of `to`. Sums run in double precision in an order
// that the shapes decide.
void SumToShape(std::span<const float> grad, const Shape& from, const Shape& to,
                std::span<float> out);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_OPS_BACKWARD_GRAD_CONTEXT_H_
