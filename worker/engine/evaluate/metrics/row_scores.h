// Scores of one decision: which class is first, and what probability the classes have.
//
// A model may end in a softmax or before it. Nothing in its file says which, so the values decide:
// they are probabilities when every row seen is non-negative and sums to 1 within 1e-3, and logits
// otherwise. A row alone cannot tell (a logit may be 0.7), so metrics that stream keep both
// readings until the end.
#ifndef LATHE_WORKER_ENGINE_EVALUATE_METRICS_ROW_SCORES_H_
#define LATHE_WORKER_ENGINE_EVALUATE_METRICS_ROW_SCORES_H_

#include <cstdint>
#include <span>

namespace lathe::engine {

enum class ScoreKind { kLogits = 0, kProbabilities = 1 };
inline constexpr int kScoreKinds = 2;

// "logits" or "probabilities".
const char* ScoreKindName(ScoreKind kind);

// Furthest that the sum of probabilities may be from 1.
inline constexpr double kSumTolerance = 1e-3;

struct RowSummary {
  // False when a score is NaN or +infinity, or all are -infinity: such a row decides nothing. A
  // score of -infinity alone is a class that was ruled out.
  bool usable = false;
  bool distribution = false;  // no score below 0, their sum 1 within kSumTolerance
  int64_t best = -1;          // index of the greatest score; of equal ones the first, as numpy
  double max = 0;
  double sum = 0;
};

// row: at least one score.
RowSummary Summarize(std::span<const float> row);

// log(sum(exp(row))), stable; of a usable row.
double LogSumExp(std::span<const float> row, double max);

// log p of class `index` when the scores are probabilities: those that do not sum to 1 within the
// tolerance (an output that was itself rounded) are divided by their sum; then clipped to
// [2^-52, 1 - 2^-52] as scikit-learn's log_loss does with float64.
double LogOfProbability(std::span<const float> row, const RowSummary& summary, int64_t index);

// Clips a probability as above, and takes its logarithm.
double LogClipped(double probability);

// The probability, not clipped.
double Probability(std::span<const float> row, const RowSummary& summary, int64_t index);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_EVALUATE_METRICS_ROW_SCORES_H_
