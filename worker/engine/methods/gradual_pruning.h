// Pruning while the model trains (Zhu and Gupta 2017, 1710.01878, section 3): the sparsity rises
// from s_i to s_f along
//   s_t = s_f + (s_i - s_f) (1 - t / n)^3
// over the first part of the steps; the rest trains what is left. What was once set to zero stays
// zero.
#ifndef LATHE_WORKER_ENGINE_METHODS_GRADUAL_PRUNING_H_
#define LATHE_WORKER_ENGINE_METHODS_GRADUAL_PRUNING_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "worker/engine/tensor/parallel.h"
#include "worker/engine/train/trainable.h"

namespace lathe::engine {

// What prune_weights with `schedule: cubic` leaves to the training that follows.
struct GradualPlan {
  double sparsity = 0;
  bool global = false;
  std::vector<std::string> constants;  // of the weights, by name
};

class GradualPruning {
 public:
  GradualPruning(const std::optional<GradualPlan>& plan, Parallel& parallel)
      : plan_(plan), parallel_(parallel) {}

  bool any() const { return plan_.has_value(); }
  // Makes the masks for the step after `done` of `total`, and zeroes what they hide.
  absl::Status Apply(int64_t done, int64_t total, std::vector<Parameter>& parameters);

  // The sparsity at that step.
  static double SparsityAt(double start, double final, int64_t done, int64_t total);

 private:
  const std::optional<GradualPlan>& plan_;
  Parallel& parallel_;
};

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_METHODS_GRADUAL_PRUNING_H_
