// Losses: what training makes small, and its gradient with respect to the model's outputs.
//
//   cross_entropy  CE = -log softmax(z)_y, over the class axis; with label smoothing e, the target
//                  is (1 - e) at y and e / C everywhere (Szegedy et al. 2016, section 7). One score
//                  instead of C: binary, on sigmoid(z).
//   mse            mean squared difference from float targets
//   ctc            connectionist temporal classification (Graves et al. 2006), blank 0 or the last
//   kl             (1 - a) CE + a T^2 KL(P_T || P_S), P = softmax(z / T) (Hinton, Vinyals, Dean
//                  2015, 1503.02531, section 2): T^2 keeps the gradient's size whatever T is
//   dkd            decoupled: target and non-target part weighed apart (Zhao et al. 2022,
//                  2203.08679, equation 7); needs labels, and is kl where there are none
//   feature        squared difference from the teacher's outputs, over the teacher's mean square
//                  of the batch, so that outputs of any size weigh the same; a mean over outputs
//
// Rows without a label (class -1, or -100) take part in what needs none. All means are over
// examples (each weighed by its weight), or over labelled positions where there are several in an
// example, never over classes. Sums run in double precision.
#ifndef LATHE_WORKER_ENGINE_TRAIN_LOSS_H_
#define LATHE_WORKER_ENGINE_TRAIN_LOSS_H_

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/engine/tensor/tensor.h"
#include "worker/engine/tensor/value.h"

namespace lathe::engine {

enum class LossKind { kCrossEntropy, kMse, kCtc, kKl, kDkd, kFeature };

struct LossOptions {
  LossKind kind = LossKind::kCrossEntropy;
  double label_smoothing = 0;  // [0, 1)
  double temperature = 4;      // kl, dkd; > 0
  double alpha = 0.5;          // kl, dkd: share of the teacher, [0, 1]
  double dkd_beta = 8;         // dkd: weight of the non-target part
  int64_t blank = 0;           // ctc; -1: the last class
};

// What is known of the examples of one micro-batch. `rows` examples lie in the model's outputs, of
// which the first `size` count.
struct Targets {
  int64_t rows = 0;
  int64_t size = 0;
  const Tensor* labels = nullptr;  // int64 [size, ...] or float32 [size, ...]; nullptr: none
  std::span<const float> weights;  // [size]; empty: 1 each
  std::span<const Value> teacher;  // one an output, as the student's; empty: none
};

// Sums over the examples of a step, by which means are taken.
struct LossCounts {
  double examples = 0;  // weights of all
  double labelled = 0;  // weights of labelled positions
  LossCounts& operator+=(const LossCounts& other);
};
LossCounts CountTargets(const Targets& targets);

struct LossResult {
  double loss = 0;      // this micro-batch's part of the step's mean
  double labelled = 0;  // positions with a label
  double correct = 0;   // of which the greatest score is the label
};

// Computes the loss of one micro-batch and its gradient. `outputs`: float32 scores, before any
// softmax; `which` is the one that labels speak of. `total`: of the step. `make` gives memory for a
// gradient; those of outputs that the loss does not read stay kNone. INVALID_ARGUMENT when labels
// or teacher do not fit the outputs: says what was expected.
absl::StatusOr<LossResult> ComputeLoss(const LossOptions& options, const Targets& targets,
                                       const LossCounts& total, std::span<const Value> outputs,
                                       size_t which,
                                       const std::function<absl::StatusOr<Value>(Shape)>& make,
                                       std::vector<Value>* grads);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_TRAIN_LOSS_H_
