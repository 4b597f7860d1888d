// Figures from the sums. Definitions as in scikit-learn: precision = hits / predicted, recall =
// hits / support, F1 = 2 hits / (predicted + support), each 0 where its denominator is
// (zero_division=0); "macro" is the mean over the classes that occur among the labels or the
// predictions, "weighted" that by support. Expected calibration error (C. Guo et al., On
// calibration of modern neural networks, ICML 2017): sum over 15 bins of equal width of weight(bin)
// / weight * |accuracy(bin) - mean confidence(bin)|.
#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "worker/engine/evaluate/metrics/classification.h"
#include "worker/engine/evaluate/metrics/json_number.h"
#include "worker/engine/evaluate/metrics/wilson.h"

namespace lathe::engine {
namespace {

double OrZero(double numerator, double denominator) {
  return denominator == 0 ? 0 : numerator / denominator;
}

struct Averages {
  double sum = 0;
  double weighted = 0;

  void Add(double value, double support) {
    sum += value;
    weighted += value * support;
  }
};

}  // namespace

nlohmann::json Classification::Result(ScoreKind kind) const {
  const Tally& tally = tallies_[static_cast<size_t>(kind)];
  nlohmann::json out = {{"examples", examples_},
                        {"samples", samples_},
                        {"non_finite", non_finite_},
                        {"classes", classes_},
                        {"scores", ScoreKindName(kind)}};
  if (options_.ignore_label) out["ignored"] = ignored_;
  out["accuracy"] = JsonRatio(tally.correct, weight_);
  out["accuracy_interval"] = nullptr;
  if (weight_ > 0 && squared_trials_ > 0) {
    // Positions of one example resemble each other, so examples are what counts; unequal weights
    // make fewer of them (Kish's effective sample size).
    const double trials = trials_ * trials_ / squared_trials_;
    out["accuracy_interval"] = WilsonInterval(std::min(1.0, tally.correct / weight_), trials);
  }
  out["top_k"] = nlohmann::json::object();
  for (size_t i = 0; i < top_hits_.size(); ++i) {
    out["top_k"][std::to_string(options_.top_k[i])] = JsonRatio(top_hits_[i], weight_);
  }

  std::vector<double> precision, recall, f1;
  Averages precisions, recalls, f1s;
  double present = 0;
  for (size_t c = 0; c < support_.size(); ++c) {
    const double hits = tally.hits[c];
    precision.push_back(OrZero(hits, tally.predicted[c]));
    recall.push_back(OrZero(hits, support_[c]));
    f1.push_back(OrZero(2 * hits, tally.predicted[c] + support_[c]));
    precisions.Add(precision.back(), support_[c]);
    recalls.Add(recall.back(), support_[c]);
    f1s.Add(f1.back(), support_[c]);
    present += labelled_[c] || tally.seen[c];
  }
  out["precision_macro"] = JsonRatio(precisions.sum, present);
  out["recall_macro"] = JsonRatio(recalls.sum, present);
  out["f1_macro"] = JsonRatio(f1s.sum, present);
  out["precision_weighted"] = JsonRatio(precisions.weighted, weight_);
  out["recall_weighted"] = JsonRatio(recalls.weighted, weight_);
  out["f1_weighted"] = JsonRatio(f1s.weighted, weight_);
  if (classes_ <= limits::kMaxListedClasses) {
    out["per_class"] = {
        {"precision", precision}, {"recall", recall}, {"f1", f1}, {"support", support_}};
  }
  if (!tally.confusion.empty()) {
    nlohmann::json rows = nlohmann::json::array();
    for (auto row = tally.confusion.begin(); row != tally.confusion.end(); row += classes_) {
      rows.push_back(std::vector<double>(row, row + classes_));
    }
    out["confusion_matrix"] = std::move(rows);
  }

  out["log_loss"] = JsonRatio(tally.log_loss, usable_weight_);
  double calibration = 0;
  for (const Bin& bin : tally.bins) calibration += std::abs(bin.correct - bin.confidence);
  out["ece"] = JsonRatio(calibration, usable_weight_);
  return out;
}

std::vector<std::string> Classification::Warnings() const {
  std::vector<std::string> warnings;
  if (non_finite_ > 0) {
    warnings.push_back(absl::StrCat(non_finite_, " of ", samples_,
                                    " decisions have scores that are NaN or infinite: they count "
                                    "as wrong, and not in log_loss and ece"));
  }
  if (examples_ > 0 && weight_ == 0) {
    warnings.push_back(samples_ == 0 ? "every label is passed over: nothing was measured"
                                     : "every weight is 0: nothing was measured");
  }
  const auto labelled = std::count(labelled_.begin(), labelled_.end(), 1);
  if (labelled == 1 && samples_ > 1) {
    const auto only = std::find(labelled_.begin(), labelled_.end(), 1) - labelled_.begin();
    warnings.push_back(absl::StrCat("all ", samples_, " labels are class ", only, " of ", classes_,
                                    ": the figures say nothing of the other classes"));
  }
  return warnings;
}

}  // namespace lathe::engine
