#include "worker/engine/train/validation.h"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "common/status_macros.h"
#include "worker/engine/graph/clone.h"
#include "worker/engine/run/executor.h"

namespace lathe::engine {

absl::StatusOr<ValidationResult> Validate(const Trainable& trainable, const Model& original,
                                          const Model* teacher, const TrainingSet& set,
                                          std::span<const int64_t> places, int64_t micro,
                                          const LossOptions& loss, size_t output,
                                          const std::function<bool()>& cancelled) {
  Model model = CloneModel(original);
  RETURN_IF_ERROR(trainable.WriteTo(model));
  ExecutorOptions options;
  options.cancelled = cancelled;
  ASSIGN_OR_RETURN(const std::unique_ptr<Executor> student, Executor::Make(model, options));
  std::unique_ptr<Executor> other;
  if (teacher != nullptr) {
    ASSIGN_OR_RETURN(other, Executor::Make(*teacher, options));
  }
  // Memory for gradients that nobody wants.
  ActivationMemory memory(int64_t{16} << 30);
  memory.BeginRun("");
  const auto make = [&memory](Shape dims) -> absl::StatusOr<Value> {
    Value value;
    value.kind = Value::Kind::kTensor;
    value.dtype = DType::kFloat;
    value.dims = std::move(dims);
    ASSIGN_OR_RETURN(value.buffer,
                     memory.Allocate(ValueBytes(DType::kFloat, value.dims, Layout::kPlain)));
    value.data = value.buffer->data();
    return value;
  };
  const auto targets_of = [](const MicroBatch& batch) {
    Targets targets;
    targets.rows = batch.rows;
    targets.size = batch.size;
    targets.labels = batch.labels ? &*batch.labels : nullptr;
    targets.weights = batch.weights;
    return targets;
  };
  ValidationResult sum;
  double examples = 0;
  MicroBatch batch;
  for (size_t at = 0; at < places.size(); at += static_cast<size_t>(micro)) {
    const size_t count = std::min(places.size() - at, static_cast<size_t>(micro));
    set.Gather(places.subspan(at, count), {}, 0, &batch);
    Targets targets = targets_of(batch);
    std::vector<Value> teacher_outputs;
    if (other != nullptr) {
      ASSIGN_OR_RETURN(teacher_outputs, other->Run(batch.inputs));
      targets.teacher = teacher_outputs;
    }
    ASSIGN_OR_RETURN(const std::vector<Value> outputs, student->Run(batch.inputs));
    const LossCounts total = CountTargets(targets);
    std::vector<Value> grads;
    ASSIGN_OR_RETURN(const LossResult result,
                     ComputeLoss(loss, targets, total, outputs, output, make, &grads));
    // Means of micro-batches, weighed by their examples.
    sum.loss += result.loss * total.examples;
    examples += total.examples;
    sum.labelled += result.labelled;
    sum.correct += result.correct;
  }
  memory.EndRun();
  if (examples > 0) sum.loss /= examples;
  return sum;
}

}  // namespace lathe::engine
