// The micro-batches of a step, run on several threads: gradients summed in the micro-batches'
// order, whatever the number of threads.
#ifndef LATHE_WORKER_ENGINE_TRAIN_LANES_H_
#define LATHE_WORKER_ENGINE_TRAIN_LANES_H_

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
#include "worker/engine/run/executor.h"
#include "worker/engine/tensor/parallel.h"
#include "worker/engine/train/loss.h"
#include "worker/engine/train/tape.h"
#include "worker/engine/train/trainable.h"
#include "worker/engine/train/training_set.h"

namespace lathe::engine {

struct StepResult {
  double loss = 0;
  double labelled = 0;
  double correct = 0;
};

// Keeps the teacher's outputs by example, as far as the memory given to it goes.
class TeacherCache {
 public:
  TeacherCache(int64_t examples, int64_t max_bytes) : examples_(examples), max_bytes_(max_bytes) {}
  // The outputs of these examples, when all are there.
  bool Find(const MicroBatch& batch, std::vector<Value>* outputs) const;
  // Not at the same time as Find. Outputs whose first axis is not that of the examples end it.
  void Put(const MicroBatch& batch, std::span<const Value> outputs);

 private:
  int64_t examples_;
  int64_t max_bytes_;
  bool usable_ = true;
  std::vector<uint8_t> known_;
  struct Output {
    DType dtype = DType::kFloat;
    Shape row;
    int64_t row_bytes = 0;
    std::string data;
  };
  std::vector<Output> outputs_;
};

class Lanes {
 public:
  // All must outlive it. `teacher` may be null.
  Lanes(const Trainable& trainable, const Model* teacher, const LossOptions& loss, size_t output,
        Parallel& parallel, std::function<bool()> cancelled, int64_t memory_bytes,
        TeacherCache* cache)
      : trainable_(trainable),
        teacher_(teacher),
        loss_(loss),
        output_(output),
        parallel_(parallel),
        cancelled_(std::move(cancelled)),
        memory_bytes_(memory_bytes),
        cache_(cache) {}

  // Runs the micro-batches on the parameters' `forward` values (one a parameter, in the graph's
  // type). `grads`: one a parameter, the sum over micro-batches; empty where none reaches.
  // `statistics`: one a Trainable::Statistic, the mean of their next values. `idle`, when given,
  // runs beside them on a thread that has nothing else to do.
  absl::StatusOr<StepResult> Run(std::span<const MicroBatch> batches,
                                 std::span<const Value> forward,
                                 std::vector<std::vector<float>>* grads,
                                 std::vector<std::vector<float>>* statistics,
                                 const std::function<void()>& idle);

  int64_t peak_bytes() const { return peak_bytes_; }
  // Of the runs so far.
  std::vector<std::string> Blocked() const;

 private:
  struct Lane {
    std::unique_ptr<Tape> tape;
    std::unique_ptr<Executor> teacher;
    std::vector<Value> grads;  // of its last micro-batch
    std::vector<Value> outputs;
    std::vector<Value> teacher_outputs;
    StepResult result;
    absl::Status status;
  };
  absl::Status RunOne(const MicroBatch& batch, const LossCounts& total,
                      std::span<const Value> forward, Lane* lane);
  absl::Status MakeLane(Lane* lane);

  const Trainable& trainable_;
  const Model* const teacher_;
  const LossOptions& loss_;
  const size_t output_;
  Parallel& parallel_;
  const std::function<bool()> cancelled_;
  const int64_t memory_bytes_;
  TeacherCache* const cache_;
  std::vector<Lane> lanes_;
  int64_t peak_bytes_ = 0;
};

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_TRAIN_LANES_H_
