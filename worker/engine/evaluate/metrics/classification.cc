#include "worker/engine/evaluate/metrics/classification.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "common/status_macros.h"

namespace lathe::engine {
namespace {

void AddAll(const std::vector<double>& from, std::vector<double>* to) {
  for (size_t i = 0; i < from.size(); ++i) (*to)[i] += from[i];
}

void AddAll(const std::vector<char>& from, std::vector<char>* to) {
  for (size_t i = 0; i < from.size(); ++i) (*to)[i] |= from[i];
}

// log(1 / (1 + exp(-x))), stable.
double LogSigmoid(double x) {
  return x < 0 ? x - std::log1p(std::exp(x)) : -std::log1p(std::exp(-x));
}

}  // namespace

absl::Status Classification::Resize(const NamedArray& scores, int64_t classes, int64_t columns) {
  if (columns == columns_) return absl::OkStatus();
  if (columns_ != 0) {
    return absl::InvalidArgumentError(absl::StrCat("output '", scores.name, "' ",
                                                   DimsText(scores.array.dims), " has ", columns,
                                                   " classes; earlier batches had ", columns_));
  }
  if (classes > limits::kMaxClasses) {
    return absl::InvalidArgumentError(
        absl::StrCat("output '", scores.name, "' ", DimsText(scores.array.dims), " has ", classes,
                     " classes; at most ", limits::kMaxClasses, " can be evaluated"));
  }
  columns_ = columns;
  classes_ = classes;
  const auto size = static_cast<size_t>(classes);
  support_.assign(size, 0);
  labelled_.assign(size, 0);
  for (Tally& tally : tallies_) {
    tally.hits.assign(size, 0);
    tally.predicted.assign(size, 0);
    tally.seen.assign(size, 0);
    if (classes <= limits::kMaxConfusionClasses) tally.confusion.assign(size * size, 0);
  }
  std::erase_if(options_.top_k, [classes](int64_t k) { return k < 1 || k >= classes; });
  top_hits_.assign(options_.top_k.size(), 0);
  return absl::OkStatus();
}

Classification::Decision Classification::Decide(std::span<const float> row,
                                                const RowSummary& summary, int64_t truth,
                                                ScoreKind kind) const {
  Decision decision;
  if (columns_ == 1) {
    const double score = row[0];
    if (kind == ScoreKind::kLogits) {
      decision.predicted = score > 0;
      decision.confidence = 1 / (1 + std::exp(-std::abs(score)));
      decision.log_probability = LogClipped(std::exp(LogSigmoid(truth == 1 ? score : -score)));
    } else {
      const double p = std::clamp(score, 0.0, 1.0);
      decision.predicted = score > 0.5;
      decision.confidence = std::max(p, 1 - p);
      decision.log_probability = LogClipped(truth == 1 ? p : 1 - p);
    }
    return decision;
  }
  decision.predicted = summary.best;
  if (kind == ScoreKind::kLogits) {
    const double log_sum = LogSumExp(row, summary.max);
    const double score = row[static_cast<size_t>(truth)];
    decision.confidence = std::exp(summary.max - log_sum);
    decision.log_probability = LogClipped(std::exp(score - log_sum));
  } else {
    decision.confidence = Probability(row, summary, summary.best);
    decision.log_probability = LogOfProbability(row, summary, truth);
  }
  return decision;
}

void Classification::Count(const Decision& decision, int64_t truth, double weight,
                           Tally* tally) const {
  const auto predicted = static_cast<size_t>(decision.predicted);
  tally->predicted[predicted] += weight;
  tally->seen[predicted] = 1;
  if (!tally->confusion.empty()) {
    tally->confusion[static_cast<size_t>(truth * classes_ + decision.predicted)] += weight;
  }
  tally->log_loss -= weight * decision.log_probability;
  // Bins (i / 15, (i + 1) / 15], the first with its lower end.
  const auto bin = static_cast<int64_t>(std::ceil(decision.confidence * kBins)) - 1;
  Bin& at = tally->bins[static_cast<size_t>(std::clamp<int64_t>(bin, 0, kBins - 1))];
  at.weight += weight;
  at.confidence += weight * decision.confidence;
  if (decision.predicted != truth) return;
  at.correct += weight;
  tally->correct += weight;
  tally->hits[predicted] += weight;
}

void Classification::CountTopK(std::span<const float> row, int64_t truth, double weight) {
  if (options_.top_k.empty()) return;
  // Of equal scores the later class is first, as in scikit-learn's top_k_accuracy_score.
  const float score = row[static_cast<size_t>(truth)];
  int64_t rank = 0;
  for (int64_t c = 0; c < columns_; ++c) {
    const float other = row[static_cast<size_t>(c)];
    rank += other > score || (other == score && c > truth);
  }
  for (size_t i = 0; i < top_hits_.size(); ++i) {
    if (rank < options_.top_k[i]) top_hits_[i] += weight;
  }
}

absl::Status Classification::Add(const NamedArray& scores, const LabelBatch& labels,
                                 std::vector<ExampleScore>* examples) {
  RETURN_IF_ERROR(CheckArray(scores.name, scores.array.dims, scores.array.values.size()));
  ASSIGN_OR_RETURN(const ClassLayout layout, ClassLayoutOf(scores, options_.class_axis));
  RETURN_IF_ERROR(CheckWeights(labels.weights, layout.examples));
  ASSIGN_OR_RETURN(const std::vector<int64_t> truth,
                   ClassIds(labels, scores, layout, options_.ignore_label));
  RETURN_IF_ERROR(Resize(scores, layout.classes, layout.columns));

  std::vector<float> row(static_cast<size_t>(layout.columns));
  size_t next = 0;
  for (int64_t e = 0; e < layout.examples; ++e) {
    const double weight = labels.weights.empty() ? 1 : labels.weights[static_cast<size_t>(e)];
    ExampleScore score;
    int64_t counted = 0;
    for (int64_t p = 0; p < layout.positions(); ++p) {
      const int64_t id = truth[next++];
      if (options_.ignore_label && id == *options_.ignore_label) {
        ++ignored_;
        continue;
      }
      ++counted;
      weight_ += weight;
      support_[static_cast<size_t>(id)] += weight;
      labelled_[static_cast<size_t>(id)] = 1;
      layout.Row(scores.array.values, e, p, row.data());
      RowSummary summary = Summarize(row);
      // A single score of -infinity is a sure answer, where of several it would be none.
      if (columns_ == 1) summary.usable |= row[0] == -INFINITY;
      for (double& denominator : score.denominator) denominator += weight;
      if (!summary.usable) {
        ++non_finite_;
        continue;
      }
      usable_weight_ += weight;
      distributions_ &= columns_ == 1 ? row[0] >= -kSumTolerance && row[0] <= 1 + kSumTolerance
                                      : summary.distribution;
      if (columns_ > 1) CountTopK(row, id, weight);
      for (int k = 0; k < kScoreKinds; ++k) {
        const auto at = static_cast<size_t>(k);
        const Decision decision = Decide(row, summary, id, static_cast<ScoreKind>(k));
        Count(decision, id, weight, &tallies_[at]);
        if (decision.predicted == id) score.numerator[at] += weight;
      }
    }
    samples_ += counted;
    ++examples_;
    if (counted > 0) {
      trials_ += weight;
      squared_trials_ += weight * weight;
    }
    score.trial = layout.positions() == 1 && counted == 1 && labels.weights.empty();
    if (examples != nullptr) examples->push_back(score);
  }
  return absl::OkStatus();
}

absl::Status Classification::Merge(const Classification& other) {
  if (other.columns_ == 0) return absl::OkStatus();
  if (columns_ == 0) {
    *this = other;
    return absl::OkStatus();
  }
  if (columns_ != other.columns_) {
    return absl::InvalidArgumentError(absl::StrCat("parts of one evaluation have ", columns_,
                                                   " and ", other.columns_, " classes"));
  }
  examples_ += other.examples_;
  samples_ += other.samples_;
  non_finite_ += other.non_finite_;
  ignored_ += other.ignored_;
  distributions_ &= other.distributions_;
  weight_ += other.weight_;
  usable_weight_ += other.usable_weight_;
  trials_ += other.trials_;
  squared_trials_ += other.squared_trials_;
  AddAll(other.support_, &support_);
  AddAll(other.labelled_, &labelled_);
  AddAll(other.top_hits_, &top_hits_);
  for (size_t k = 0; k < tallies_.size(); ++k) {
    Tally& into = tallies_[k];
    const Tally& from = other.tallies_[k];
    into.correct += from.correct;
    into.log_loss += from.log_loss;
    AddAll(from.hits, &into.hits);
    AddAll(from.predicted, &into.predicted);
    AddAll(from.seen, &into.seen);
    AddAll(from.confusion, &into.confusion);
    for (size_t b = 0; b < into.bins.size(); ++b) {
      into.bins[b].weight += from.bins[b].weight;
      into.bins[b].correct += from.bins[b].correct;
      into.bins[b].confidence += from.bins[b].confidence;
    }
  }
  return absl::OkStatus();
}

ScoreKind Classification::kind() const {
  if (options_.scores) return *options_.scores;
  return distributions_ && samples_ > non_finite_ ? ScoreKind::kProbabilities : ScoreKind::kLogits;
}

}  // namespace lathe::engine
