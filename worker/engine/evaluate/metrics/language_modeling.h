// How well a language model foretells the next token.
//
//   perplexity = exp(-1/N sum over the N tokens that count of log softmax(logits[b, i])[target])
// With shift 1, labels are the tokens that the model was given, and logits at position i foretell
// labels[b, i + 1], for i in 0..t-2: the first label is never a target, the last logits are not
// used (as Hugging Face's causal models compute their loss). With shift 0, labels[b, i] is the
// target of logits[b, i] (labels that were shifted before, masked language models).
// Labels of -1 and -100 are no targets, nor is another one that can be named (padding).
#ifndef LATHE_WORKER_ENGINE_EVALUATE_METRICS_LANGUAGE_MODELING_H_
#define LATHE_WORKER_ENGINE_EVALUATE_METRICS_LANGUAGE_MODELING_H_

#include <array>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "worker/engine/evaluate/metrics/arrays.h"
#include "worker/engine/evaluate/metrics/example_score.h"
#include "worker/engine/evaluate/metrics/row_scores.h"

namespace lathe::engine {

struct LanguageOptions {
  int64_t shift = 1;  // 0 or 1: positions between a label and the logits that foretell it
  std::optional<int64_t> ignore_label;
};

class LanguageModeling {
 public:
  explicit LanguageModeling(LanguageOptions options) : options_(options) {}

  // logits [n, t, vocabulary] (or probabilities: row_scores.h); labels.ids [n, t]. An example's
  // weight counts for all its tokens. Appends the negative log likelihood and the number of tokens
  // of each example to `examples` when that is not null. INVALID_ARGUMENT: shapes that do not fit,
  // a token out of range; nothing is added then.
  absl::Status Add(const NamedArray& logits, const LabelBatch& labels,
                   std::vector<ExampleScore>* examples);
  void Merge(const LanguageModeling& other);

  ScoreKind kind() const;
  int64_t examples() const { return examples_; }
  std::vector<std::string> Warnings() const;
  // perplexity, cross_entropy (nats a token), token_accuracy, tokens, examples, non_finite.
  nlohmann::json Result(ScoreKind kind) const;

 private:
  LanguageOptions options_;
  int64_t examples_ = 0;
  int64_t tokens_ = 0;
  int64_t non_finite_ = 0;
  double weight_ = 0;
  double usable_weight_ = 0;
  double correct_ = 0;
  bool distributions_ = true;
  std::array<double, kScoreKinds> loss_ = {};
};

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_EVALUATE_METRICS_LANGUAGE_MODELING_H_
