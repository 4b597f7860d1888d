// What one example adds to a task's leading figure: the unit in which two models are compared.
#ifndef LATHE_WORKER_ENGINE_EVALUATE_METRICS_EXAMPLE_SCORE_H_
#define LATHE_WORKER_ENGINE_EVALUATE_METRICS_EXAMPLE_SCORE_H_

#include <array>

#include "worker/engine/evaluate/metrics/row_scores.h"

namespace lathe::engine {

// The figure over many examples is sum(numerator) / sum(denominator), or a function of it.
struct ExampleScore {
  // By the reading of the scores (row_scores.h), as static_cast<size_t>(ScoreKind); equal where the
  // reading makes no difference.
  std::array<double, kScoreKinds> numerator = {};
  std::array<double, kScoreKinds> denominator = {};
  // One decision of weight 1, right (numerator 1) or wrong (0): what McNemar's test is about.
  bool trial = false;
};

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_EVALUATE_METRICS_EXAMPLE_SCORE_H_
