// Whether a model reads out the right sequence: transcripts, captions, tags.
//
// Decoding is greedy: the first class among the greatest at each step. CTC (A. Graves et al., ICML
// 2006): equal neighbours become one, then blanks go. Tokens: the steps are the sequence. With an
// end token, both the sequence and the target end before its first occurrence; without one, the
// sequence is cut to the length of the target.
//   sequence_accuracy    = share of sequences that are right throughout
//   character_error_rate = sum of Levenshtein distances / sum of target lengths
#ifndef LATHE_WORKER_ENGINE_EVALUATE_METRICS_SEQUENCE_H_
#define LATHE_WORKER_ENGINE_EVALUATE_METRICS_SEQUENCE_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "worker/engine/evaluate/metrics/arrays.h"
#include "worker/engine/evaluate/metrics/example_score.h"

namespace lathe::engine {

enum class SequenceDecoder { kCtc, kTokens };

struct SequenceOptions {
  SequenceDecoder decoder = SequenceDecoder::kCtc;
  int64_t blank = 0;                 // of kCtc
  std::optional<int64_t> end_token;  // of kTokens
};

class Sequence {
 public:
  explicit Sequence(SequenceOptions options) : options_(std::move(options)) {}

  // scores [n, steps, symbols], logits or probabilities; labels.ids [n, length], padded with -1 at
  // the end. Weights as in classification. A step whose scores are NaN counts, and is a symbol that
  // equals none. Appends whether each sequence is right to `examples` when that is not null.
  // INVALID_ARGUMENT: shapes that do not fit, a symbol out of range or equal to the blank, padding
  // within a target, sequences of more than limits::kMaxEditCells cells; nothing is added then.
  absl::Status Add(const NamedArray& scores, const LabelBatch& labels,
                   std::vector<ExampleScore>* examples);
  void Merge(const Sequence& other);

  int64_t examples() const { return examples_; }
  std::vector<std::string> Warnings() const;
  // sequence_accuracy, its interval, character_error_rate, examples, symbols, non_finite.
  nlohmann::json Result() const;

 private:
  absl::Status Check(const NamedArray& scores, const LabelBatch& labels) const;
  // The decoded sequence of scores [steps, symbols], and the target without padding, as compared.
  std::vector<int64_t> Decode(std::span<const float> scores, int64_t steps, int64_t symbols);
  void CutToCompare(std::vector<int64_t>* sequence, std::vector<int64_t>* target) const;

  SequenceOptions options_;
  int64_t examples_ = 0;
  int64_t symbols_ = 0;
  int64_t non_finite_ = 0;
  double weight_ = 0;
  double squared_weight_ = 0;
  double right_ = 0;
  double distance_ = 0;
  double length_ = 0;
};

// Least number of insertions, deletions and substitutions that make `a` of `b`. Time O(|a| |b|),
// memory O(|b|).
int64_t EditDistance(std::span<const int64_t> a, std::span<const int64_t> b);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_EVALUATE_METRICS_SEQUENCE_H_
