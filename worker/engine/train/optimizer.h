// Optimizers: how gradients move parameters.
//
// Adam (Kingma and Ba 2015, 1412.6980, algorithm 1):
//   m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2
//   w -= lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + e)
// With `adam`, weight decay adds decay * w to g; with `adamw` it takes lr decay w from w apart from
// the moments (Loshchilov and Hutter 2019, 1711.05101, algorithm 2). SGD with momentum:
//   m = b m + g;  w -= lr (g + b m) with Nesterov's form (Sutskever et al. 2013), lr m without.
//
// Scales of grids are moved in their logarithm, g_log = g s: a step then changes a scale by a
// share of itself, and it stays positive. (1902.08153 moves scales as they are, which needs a
// learning rate fit to their size.)
#ifndef LATHE_WORKER_ENGINE_TRAIN_OPTIMIZER_H_
#define LATHE_WORKER_ENGINE_TRAIN_OPTIMIZER_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace lathe::engine {

enum class OptimizerKind { kAdam, kAdamW, kSgd };

struct OptimizerOptions {
  OptimizerKind kind = OptimizerKind::kAdam;
  double beta1 = 0.9;  // SGD: the momentum
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0;
  bool nesterov = true;
};

// What an optimizer keeps for one array of parameters.
struct Moments {
  std::vector<float> first;
  std::vector<float> second;  // empty for SGD
};

// One step of `values` along `grad`, both of one size. `step` counts from 1. `decay`: whether
// weight decay is for these values. Deterministic, element by element.
void OptimizerStep(const OptimizerOptions& options, int64_t step, double learning_rate, bool decay,
                   std::span<const float> grad, std::span<float> values, Moments* moments);

// The learning rate over a run.
enum class ScheduleKind { kConstant, kCosine, kStep, kLinear };

struct Schedule {
  ScheduleKind kind = ScheduleKind::kCosine;
  double rate = 1e-3;
  int64_t warmup_steps = 0;  // rises linearly from rate / warmup_steps
  int64_t total_steps = 1;
  // kStep: multiplied by `factor` every `every` steps.
  double factor = 0.1;
  int64_t every = 0;
};

// The rate of step `step`, which counts from 1. kCosine and kLinear end near zero.
double RateAt(const Schedule& schedule, int64_t step);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_TRAIN_OPTIMIZER_H_
