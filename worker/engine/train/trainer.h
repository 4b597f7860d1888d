// Trains a model's parameters on examples.
//
// A step takes `batch_size` examples in micro-batches, each run forwards and backwards on its own;
// their gradients are added up in order. How a step is cut depends on its size and on the memory
// allowed, never on the number of threads, so that the result does not either. Given the same
// model, examples, options and seed, a run that is resumed from a checkpoint ends with the same
// bytes as one that was not interrupted.
#ifndef LATHE_WORKER_ENGINE_TRAIN_TRAINER_H_
#define LATHE_WORKER_ENGINE_TRAIN_TRAINER_H_

#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/engine/graph/model.h"
#include "worker/engine/tensor/parallel.h"
#include "worker/engine/train/loss.h"
#include "worker/engine/train/optimizer.h"
#include "worker/engine/train/trainable.h"
#include "worker/engine/train/training_set.h"

namespace lathe::engine {

struct TrainOptions {
  LossOptions loss;
  size_t output = 0;  // which output labels speak of
  OptimizerOptions optimizer;
  ScheduleKind schedule = ScheduleKind::kCosine;
  double learning_rate = 1e-3;
  double warmup = 0.05;      // share of the steps
  double step_factor = 0.1;  // of ScheduleKind::kStep
  int64_t step_epochs = 0;   // likewise; 0: a third of the epochs
  int64_t epochs = 1;
  int64_t steps = 0;  // instead of epochs, when > 0
  int64_t batch_size = 64;
  double clip_norm = 1;   // of all gradients together; 0: none
  double validation = 0;  // share of the examples that is kept back, [0, 1)
  int64_t patience = 0;   // epochs without a better validation loss after which it ends; 0: never
  Augmentation augmentation;
  uint64_t seed = 0;
  int64_t memory_bytes = 0;  // activations of all threads together; 0: as much as it takes
};

struct CurvePoint {
  int64_t step = 0;
  double epoch = 0;
  double rate = 0;
  double loss = 0;  // a mean since the last point
  // Shares of labelled positions that were right; NaN where there are none.
  double accuracy = std::numeric_limits<double>::quiet_NaN();
  double validation_loss = std::numeric_limits<double>::quiet_NaN();
  double validation_accuracy = std::numeric_limits<double>::quiet_NaN();
};

struct TrainOutcome {
  std::vector<CurvePoint> curve;
  int64_t steps = 0;
  double epochs = 0;
  int64_t batch_size = 0;
  int64_t micro_batch = 0;
  int64_t peak_bytes = 0;    // of activations and gradients, one thread
  double learning_rate = 0;  // that was used
  int64_t best_step = -1;    // whose values were kept, with validation
  bool stopped_early = false;
  std::vector<std::string> notes;
  std::vector<std::string> blocked;    // nodes that gradients do not pass
  std::vector<std::string> unreached;  // parameters that none reached
};

struct TrainHooks {
  // Fraction of the run and a line for people; at least once a step.
  std::function<void(double, const std::string&)> progress;
  std::function<void(const CurvePoint&)> point;
  std::function<bool()> cancelled;
  // Whether it is time to save the state; asked after each step.
  std::function<bool()> checkpoint_due;
  std::function<absl::Status(std::string)> save_checkpoint;
  // The state after the last step, in which nothing is left to do. May be empty.
  std::function<absl::Status(std::string)> keep_final;
  // A state saved before, or "". One that is damaged, or of another run, is left aside with a note.
  std::string resume;
  // Told once when `resume` was taken up: the steps done then, and in all.
  std::function<void(int64_t done, int64_t total)> resumed;
  // Called before each step, with the number of steps done: pruning as it goes.
  std::function<absl::Status(int64_t done, int64_t total, std::vector<Parameter>&)> before_step;
};

struct TrainRequest {
  Trainable* trainable = nullptr;
  const TrainingSet* examples = nullptr;
  const Model* teacher = nullptr;   // its outputs are as the student's; may be null
  const Model* original = nullptr;  // what Trainable::WriteTo writes to: for validation
  Parallel* parallel = nullptr;
};

// Errors: CANCELLED; INVALID_ARGUMENT when one example alone needs more than memory_bytes (says how
// much), and with reason INVALID_DATASET where labels do not fit; ABORTED with reason DIVERGED,
// naming the step and the parameter, when the loss is not finite or explodes at the lower rate too.
absl::StatusOr<TrainOutcome> Train(const TrainRequest& request, const TrainOptions& options,
                                   const TrainHooks& hooks);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_TRAIN_TRAINER_H_
