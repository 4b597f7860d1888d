#include "worker/engine/evaluate/metrics/language_modeling.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/engine/evaluate/metrics/json_number.h"

namespace lathe::engine {
namespace {

bool NoTarget(int64_t id, const LanguageOptions& options) {
  return id == -1 || id == -100 || id == options.ignore_label;
}

absl::Status CheckLogits(const NamedArray& logits, const LabelBatch& labels,
                         const LanguageOptions& options) {
  const Shape& dims = logits.array.dims;
  RETURN_IF_ERROR(CheckArray(logits.name, dims, logits.array.values.size()));
  RETURN_IF_ERROR(CheckWeights(labels.weights, logits.array.examples()));
  if (dims.size() != 3 || dims[2] == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("output '", logits.name, "' is ", DimsText(dims),
                     "; language modeling expects logits [n, tokens, vocabulary]"));
  }
  if (!labels.ids) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", labels.key, "' is missing; language modeling needs tokens as integers"));
  }
  RETURN_IF_ERROR(CheckArray(labels.key, labels.ids->dims, labels.ids->values.size()));
  if (labels.ids->dims != Shape{dims[0], dims[1]}) {
    return absl::InvalidArgumentError(absl::StrCat(
        "'", labels.key, "' is ", DimsText(labels.ids->dims), "; output '", logits.name, "' ",
        DimsText(dims), " expects tokens of ", DimsText({dims[0], dims[1]})));
  }
  for (size_t i = 0; i < labels.ids->values.size(); ++i) {
    const int64_t id = labels.ids->values[i];
    if (!NoTarget(id, options) && (id < 0 || id >= dims[2])) {
      return absl::InvalidArgumentError(absl::StrCat("'", labels.key, "'[", i, "] of the batch is ",
                                                     id, "; expected a token in 0..", dims[2] - 1,
                                                     ", or -100 or -1 for none"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status LanguageModeling::Add(const NamedArray& logits, const LabelBatch& labels,
                                   std::vector<ExampleScore>* examples) {
  RETURN_IF_ERROR(CheckLogits(logits, labels, options_));
  const Shape& dims = logits.array.dims;
  const auto width = static_cast<size_t>(dims[2]);
  for (int64_t e = 0; e < dims[0]; ++e) {
    const double weight = labels.weights.empty() ? 1 : labels.weights[static_cast<size_t>(e)];
    ExampleScore score;
    for (int64_t t = 0; t + options_.shift < dims[1]; ++t) {
      const int64_t id = labels.ids->values[static_cast<size_t>(e * dims[1] + t + options_.shift)];
      if (NoTarget(id, options_)) continue;
      ++tokens_;
      weight_ += weight;
      const auto row =
          logits.array.values.subspan(static_cast<size_t>(e * dims[1] + t) * width, width);
      const RowSummary summary = Summarize(row);
      if (!summary.usable) {
        ++non_finite_;
        continue;
      }
      usable_weight_ += weight;
      distributions_ &= summary.distribution;
      correct_ += summary.best == id ? weight : 0;
      const double logit = row[static_cast<size_t>(id)];
      const std::array<double, kScoreKinds> loss = {LogSumExp(row, summary.max) - logit,
                                                    -LogOfProbability(row, summary, id)};
      for (size_t k = 0; k < loss.size(); ++k) {
        loss_[k] += weight * loss[k];
        score.numerator[k] += weight * loss[k];
        score.denominator[k] += weight;
      }
    }
    ++examples_;
    if (examples != nullptr) examples->push_back(score);
  }
  return absl::OkStatus();
}

void LanguageModeling::Merge(const LanguageModeling& other) {
  examples_ += other.examples_;
  tokens_ += other.tokens_;
  non_finite_ += other.non_finite_;
  weight_ += other.weight_;
  usable_weight_ += other.usable_weight_;
  correct_ += other.correct_;
  distributions_ &= other.distributions_;
  for (size_t k = 0; k < loss_.size(); ++k) loss_[k] += other.loss_[k];
}

ScoreKind LanguageModeling::kind() const {
  return distributions_ && tokens_ > non_finite_ ? ScoreKind::kProbabilities : ScoreKind::kLogits;
}

std::vector<std::string> LanguageModeling::Warnings() const {
  std::vector<std::string> warnings;
  if (non_finite_ > 0) {
    warnings.push_back(absl::StrCat(non_finite_, " of ", tokens_,
                                    " tokens have logits that are NaN or infinite: they count as "
                                    "wrong, and not in perplexity"));
  }
  if (examples_ > 0 && tokens_ == 0) {
    warnings.push_back("no token has a target: nothing was measured");
  }
  return warnings;
}

nlohmann::json LanguageModeling::Result(ScoreKind kind) const {
  const double loss = loss_[static_cast<size_t>(kind)];
  const double entropy = usable_weight_ > 0 ? loss / usable_weight_ : NAN;
  return {{"examples", examples_},
          {"tokens", tokens_},
          {"non_finite", non_finite_},
          {"scores", ScoreKindName(kind)},
          {"cross_entropy", JsonNumber(entropy)},
          {"perplexity", JsonNumber(std::exp(entropy))},
          {"token_accuracy", JsonRatio(correct_, weight_)}};
}

}  // namespace lathe::engine
