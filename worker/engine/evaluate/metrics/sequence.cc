#include "worker/engine/evaluate/metrics/sequence.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/checked.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "worker/engine/evaluate/metrics/json_number.h"
#include "worker/engine/evaluate/metrics/row_scores.h"
#include "worker/engine/evaluate/metrics/wilson.h"

namespace lathe::engine {
namespace {

constexpr int64_t kPadding = -1;
// What a step without numbers says: a symbol that is in no target.
constexpr int64_t kNoSymbol = -2;

}  // namespace

int64_t EditDistance(std::span<const int64_t> a, std::span<const int64_t> b) {
  std::vector<int64_t> row(b.size() + 1);  // distances from a[0, i) to b[0, j)
  for (size_t j = 0; j <= b.size(); ++j) row[j] = static_cast<int64_t>(j);
  for (size_t i = 0; i < a.size(); ++i) {
    int64_t diagonal = row[0];
    row[0] = static_cast<int64_t>(i) + 1;
    for (size_t j = 0; j < b.size(); ++j) {
      const int64_t substituted = diagonal + (a[i] != b[j]);
      diagonal = row[j + 1];
      row[j + 1] = std::min({substituted, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row[b.size()];
}

absl::Status Sequence::Check(const NamedArray& scores, const LabelBatch& labels) const {
  const Shape& dims = scores.array.dims;
  RETURN_IF_ERROR(CheckArray(scores.name, dims, scores.array.values.size()));
  RETURN_IF_ERROR(CheckWeights(labels.weights, scores.array.examples()));
  if (dims.size() != 3 || dims[2] == 0) {
    return absl::InvalidArgumentError(absl::StrCat("output '", scores.name, "' is ", DimsText(dims),
                                                   "; expected scores [n, steps, symbols]"));
  }
  const bool ctc = options_.decoder == SequenceDecoder::kCtc;
  if (ctc && (options_.blank < 0 || options_.blank >= dims[2])) {
    return absl::InvalidArgumentError(absl::StrCat("blank is ", options_.blank, "; output '",
                                                   scores.name, "' has symbols 0..", dims[2] - 1));
  }
  if (!labels.ids) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", labels.key, "' is missing; expected sequences of symbols as integers"));
  }
  const Shape& target = labels.ids->dims;
  RETURN_IF_ERROR(CheckArray(labels.key, target, labels.ids->values.size()));
  if (target.size() != 2 || target[0] != dims[0]) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", labels.key, "' is ", DimsText(target), "; output '", scores.name, "' ",
                     DimsText(dims), " expects [", dims[0], ", length], padded with -1"));
  }
  if (dims[0] == 0) return absl::OkStatus();
  const std::optional<int64_t> cells = CheckedMul(dims[1] + 1, target[1] + 1);
  if (!cells || *cells > limits::kMaxEditCells) {
    return absl::InvalidArgumentError(absl::StrCat(
        "sequences of ", dims[1], " steps and targets of ", target[1],
        " symbols are too long to compare; at most ", limits::kMaxEditCells, " pairs"));
  }
  for (size_t i = 0; i < labels.ids->values.size(); ++i) {
    const int64_t id = labels.ids->values[i];
    const bool first = i % static_cast<size_t>(target[1]) == 0;
    if (id == kPadding) continue;
    if (!first && labels.ids->values[i - 1] == kPadding) {
      return absl::InvalidArgumentError(absl::StrCat("'", labels.key, "'[", i, "] of the batch is ",
                                                     id, " after padding; -1 ends a target"));
    }
    if (id < 0 || id >= dims[2] || (ctc && id == options_.blank)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "'", labels.key, "'[", i, "] of the batch is ", id, "; expected a symbol in 0..",
          dims[2] - 1, ctc ? absl::StrCat(" other than the blank ", options_.blank) : "",
          ", or -1 for padding"));
    }
  }
  return absl::OkStatus();
}

std::vector<int64_t> Sequence::Decode(std::span<const float> scores, int64_t steps,
                                      int64_t symbols) {
  std::vector<int64_t> sequence;
  int64_t previous = kPadding;
  for (int64_t t = 0; t < steps; ++t) {
    const RowSummary summary =
        Summarize(scores.subspan(static_cast<size_t>(t * symbols), static_cast<size_t>(symbols)));
    non_finite_ += !summary.usable;
    const int64_t symbol = summary.usable ? summary.best : kNoSymbol;
    const bool ctc = options_.decoder == SequenceDecoder::kCtc;
    if (!ctc || (symbol != previous && symbol != options_.blank)) sequence.push_back(symbol);
    previous = symbol;
  }
  return sequence;
}

void Sequence::CutToCompare(std::vector<int64_t>* sequence, std::vector<int64_t>* target) const {
  if (options_.decoder != SequenceDecoder::kTokens) return;
  if (!options_.end_token) {
    sequence->resize(std::min(sequence->size(), target->size()));
    return;
  }
  for (std::vector<int64_t>* tokens : {sequence, target}) {
    tokens->erase(std::find(tokens->begin(), tokens->end(), *options_.end_token), tokens->end());
  }
}

absl::Status Sequence::Add(const NamedArray& scores, const LabelBatch& labels,
                           std::vector<ExampleScore>* examples) {
  RETURN_IF_ERROR(Check(scores, labels));
  const Shape& dims = scores.array.dims;
  const auto size = static_cast<size_t>(dims[1] * dims[2]);
  const auto length = static_cast<size_t>(labels.ids->dims[1]);
  for (int64_t e = 0; e < dims[0]; ++e) {
    const auto at = static_cast<size_t>(e);
    const double weight = labels.weights.empty() ? 1 : labels.weights[at];
    const auto padded = labels.ids->values.subspan(at * length, length);
    std::vector<int64_t> target(padded.begin(), std::find(padded.begin(), padded.end(), kPadding));
    std::vector<int64_t> sequence =
        Decode(scores.array.values.subspan(at * size, size), dims[1], dims[2]);
    CutToCompare(&sequence, &target);
    const bool right = sequence == target;
    ++examples_;
    symbols_ += static_cast<int64_t>(target.size());
    weight_ += weight;
    squared_weight_ += weight * weight;
    right_ += right ? weight : 0;
    distance_ += weight * static_cast<double>(EditDistance(sequence, target));
    length_ += weight * static_cast<double>(target.size());
    if (examples == nullptr) continue;
    ExampleScore score;
    score.numerator.fill(right ? weight : 0);
    score.denominator.fill(weight);
    score.trial = labels.weights.empty();
    examples->push_back(score);
  }
  return absl::OkStatus();
}

void Sequence::Merge(const Sequence& other) {
  examples_ += other.examples_;
  symbols_ += other.symbols_;
  non_finite_ += other.non_finite_;
  weight_ += other.weight_;
  squared_weight_ += other.squared_weight_;
  right_ += other.right_;
  distance_ += other.distance_;
  length_ += other.length_;
}

std::vector<std::string> Sequence::Warnings() const {
  std::vector<std::string> warnings;
  if (non_finite_ > 0) {
    warnings.push_back(absl::StrCat(
        non_finite_, " steps have scores that are NaN or infinite: they count as wrong"));
  }
  if (examples_ > 0 && length_ == 0) {
    warnings.push_back("every target is empty: there is no character error rate");
  }
  return warnings;
}

nlohmann::json Sequence::Result() const {
  nlohmann::json interval;
  if (weight_ > 0) {
    interval = WilsonInterval(std::min(1.0, right_ / weight_), weight_ * weight_ / squared_weight_);
  }
  return {{"examples", examples_},
          {"symbols", symbols_},
          {"non_finite", non_finite_},
          {"sequence_accuracy", JsonRatio(right_, weight_)},
          {"sequence_accuracy_interval", interval},
          {"character_error_rate", JsonRatio(distance_, length_)}};
}

}  // namespace lathe::engine
