// How good a classifier is on labelled examples.
#ifndef LATHE_WORKER_ENGINE_EVALUATE_METRICS_CLASSIFICATION_H_
#define LATHE_WORKER_ENGINE_EVALUATE_METRICS_CLASSIFICATION_H_

#include <array>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "worker/engine/evaluate/metrics/arrays.h"
#include "worker/engine/evaluate/metrics/class_labels.h"
#include "worker/engine/evaluate/metrics/example_score.h"
#include "worker/engine/evaluate/metrics/row_scores.h"

namespace lathe::engine {

struct ClassificationOptions {
  int class_axis = 1;                // of the scores; negative: from the end
  std::vector<int64_t> top_k = {5};  // those that are at least the number of classes are left out
  std::optional<int64_t> ignore_label;  // decisions with this label do not count
  std::optional<ScoreKind> scores;      // absent: told from the values
};

// Sums over examples as they come: memory O(classes), and O(classes^2) up to
// limits::kMaxConfusionClasses. Not thread-safe; accumulators of parts of a data set are merged.
class Classification {
 public:
  explicit Classification(ClassificationOptions options) : options_(std::move(options)) {}

  // Scores and labels as class_labels.h has them; a weight is an example's, for all its positions.
  // Appends what each example adds to accuracy to `examples` when that is not null. On an error
  // (INVALID_ARGUMENT: a shape, label or weight that does not fit; another number of classes than
  // before) nothing is added.
  absl::Status Add(const NamedArray& scores, const LabelBatch& labels,
                   std::vector<ExampleScore>* examples);

  // Adds what `other`, made with the same options, has seen after what this one has.
  // INVALID_ARGUMENT when they saw different numbers of classes.
  absl::Status Merge(const Classification& other);

  // How the scores are read, by what was seen so far.
  ScoreKind kind() const;
  int64_t examples() const { return examples_; }
  // Lines for people on what makes the figures less than they seem.
  std::vector<std::string> Warnings() const;
  // Keys as docs/report.md lists them. Without NaN; null for what does not exist.
  nlohmann::json Result(ScoreKind kind) const;

 private:
  static constexpr int kBins = 15;

  struct Bin {
    double weight = 0;
    double correct = 0;
    double confidence = 0;
  };
  // Sums under one reading of the scores. Only one score for two classes is decided differently.
  struct Tally {
    double correct = 0;
    double log_loss = 0;
    std::vector<double> hits;       // [classes] weight of decisions that are right
    std::vector<double> predicted;  // [classes] weight of decisions for the class
    std::vector<char> seen;         // [classes] whether any decision was for the class
    std::vector<double> confusion;  // [classes, classes], truth first; empty when that is too large
    std::array<Bin, kBins> bins;
  };
  struct Decision {
    int64_t predicted = -1;  // -1: none, the scores are not numbers
    double confidence = 0;
    double log_probability = 0;  // of the true class
  };

  absl::Status Resize(const NamedArray& scores, int64_t classes, int64_t columns);
  Decision Decide(std::span<const float> row, const RowSummary& summary, int64_t truth,
                  ScoreKind kind) const;
  void Count(const Decision& decision, int64_t truth, double weight, Tally* tally) const;
  void CountTopK(std::span<const float> row, int64_t truth, double weight);

  ClassificationOptions options_;
  int64_t classes_ = 0;
  int64_t columns_ = 0;
  int64_t examples_ = 0;
  int64_t samples_ = 0;     // decisions that count
  int64_t non_finite_ = 0;  // those of them whose scores decide nothing
  int64_t ignored_ = 0;
  bool distributions_ = true;  // every usable row could be probabilities
  double weight_ = 0;          // of the decisions that count
  double usable_weight_ = 0;   // of those whose scores decide
  double trials_ = 0;          // sum of example weights
  double squared_trials_ = 0;
  std::vector<double> support_;  // [classes] weight of true decisions
  std::vector<char> labelled_;   // [classes] whether any label was of the class
  std::vector<double> top_hits_;
  std::array<Tally, kScoreKinds> tallies_;
};

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_EVALUATE_METRICS_CLASSIFICATION_H_
