#include "worker/engine/evaluate/metrics/row_scores.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace lathe::engine {

const char* ScoreKindName(ScoreKind kind) {
  return kind == ScoreKind::kProbabilities ? "probabilities" : "logits";
}

RowSummary Summarize(std::span<const float> row) {
  RowSummary summary;
  summary.max = -std::numeric_limits<double>::infinity();
  bool negative = false;
  for (size_t i = 0; i < row.size(); ++i) {
    const double score = row[i];
    if (std::isnan(score) || score == std::numeric_limits<double>::infinity()) return summary;
    negative |= score < 0;
    summary.sum += score;
    if (score > summary.max) {
      summary.max = score;
      summary.best = static_cast<int64_t>(i);
    }
  }
  summary.usable = summary.best >= 0;
  summary.distribution = summary.usable && !negative && std::abs(summary.sum - 1) <= kSumTolerance;
  return summary;
}

double LogSumExp(std::span<const float> row, double max) {
  double sum = 0;
  for (const float score : row) sum += std::exp(static_cast<double>(score) - max);
  return max + std::log(sum);
}

double Probability(std::span<const float> row, const RowSummary& summary, int64_t index) {
  const double p = std::max(0.0, static_cast<double>(row[static_cast<size_t>(index)]));
  if (summary.distribution) return p;
  double sum = 0;
  for (const float score : row) sum += std::max(0.0, static_cast<double>(score));
  return sum > 0 ? p / sum : 0;
}

double LogClipped(double probability) {
  constexpr double kEpsilon = std::numeric_limits<double>::epsilon();
  return std::log(std::clamp(probability, kEpsilon, 1 - kEpsilon));
}

double LogOfProbability(std::span<const float> row, const RowSummary& summary, int64_t index) {
  return LogClipped(Probability(row, summary, index));
}

}  // namespace lathe::engine
