#include "worker/engine/evaluate/metrics/fidelity.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/engine/evaluate/metrics/json_number.h"

namespace lathe::engine {
namespace {

bool AllFinite(std::span<const float> row) {
  return std::all_of(row.begin(), row.end(), [](float value) { return std::isfinite(value); });
}

double SoftmaxDivergence(std::span<const float> x, double max_x, std::span<const float> y,
                         double max_y) {
  const double log_sum_x = LogSumExp(x, max_x);
  const double log_sum_y = LogSumExp(y, max_y);
  double kl = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    const double log_p = static_cast<double>(x[i]) - log_sum_x;
    const double log_q = static_cast<double>(y[i]) - log_sum_y;
    kl += std::exp(log_p) * (log_p - log_q);
  }
  return std::max(0.0, kl);
}

double DistributionDivergence(std::span<const float> p, std::span<const float> q,
                              bool q_is_distribution) {
  double sum = 1;
  if (!q_is_distribution) {
    sum = 0;
    for (const float value : q) sum += std::max(0.0, static_cast<double>(value));
  }
  double kl = 0;
  for (size_t i = 0; i < p.size(); ++i) {
    if (!(p[i] > 0)) continue;
    const double probability = sum > 0 ? std::max(0.0, static_cast<double>(q[i])) / sum : 0;
    const double log_p = std::log(static_cast<double>(p[i]));
    const double log_q = std::log(std::max(probability, std::numeric_limits<double>::epsilon()));
    kl += p[i] * (log_p - log_q);
  }
  return std::max(0.0, kl);
}

}  // namespace

void Fidelity::Keep(const Worst& worst) {
  if (!(worst.relative_error > 0)) return;
  // Of equal errors the earlier example comes first.
  const auto at = std::upper_bound(
      worst_.begin(), worst_.end(), worst,
      [](const Worst& a, const Worst& b) { return a.relative_error > b.relative_error; });
  worst_.insert(at, worst);
  if (worst_.size() > kWorst) worst_.pop_back();
}

void Fidelity::AddExample(std::span<const float> before, std::span<const float> after) {
  double signal = 0;
  double noise = 0;
  double dot = 0;
  double after_norm = 0;
  bool one_sided = false;
  for (size_t i = 0; i < before.size(); ++i) {
    const double x = before[i];
    const double y = after[i];
    const bool x_finite = std::isfinite(x);
    const bool y_finite = std::isfinite(y);
    non_finite_before_ += !x_finite;
    non_finite_after_ += !y_finite;
    one_sided |= x_finite != y_finite;
    if (!x_finite || !y_finite) continue;
    const double error = x - y;
    signal += x * x;
    noise += error * error;
    dot += x * y;
    after_norm += y * y;
    max_abs_error_ = std::max(max_abs_error_, std::abs(error));
  }
  signal_ += signal;
  noise_ += noise;
  if (signal > 0 && after_norm > 0) {
    cosines_ += std::clamp(dot / (std::sqrt(signal) * std::sqrt(after_norm)), -1.0, 1.0);
  } else {
    cosines_ += signal == after_norm ? 1 : 0;
  }
  Worst worst{examples_++, std::numeric_limits<double>::infinity()};
  if (!one_sided) {
    if (noise == 0) {
      worst.relative_error = 0;
    } else if (signal > 0) {
      worst.relative_error = std::sqrt(noise / signal);
    }
  }
  Keep(worst);
}

void Fidelity::AddRow(std::span<const float> before, std::span<const float> after) {
  if (!AllFinite(before)) return;
  ++rows_;
  const RowSummary x = Summarize(before);
  distributions_ &= x.distribution;
  if (!AllFinite(after)) return;
  ++kl_rows_;
  const RowSummary y = Summarize(after);
  agreed_ += x.best == y.best;
  kl_[static_cast<size_t>(ScoreKind::kLogits)] += SoftmaxDivergence(before, x.max, after, y.max);
  // Once a row was no distribution, nobody will ask for this reading.
  if (distributions_) {
    kl_[static_cast<size_t>(ScoreKind::kProbabilities)] +=
        DistributionDivergence(before, after, y.distribution);
  }
}

absl::Status Fidelity::Add(const NamedArray& before, const NamedArray& after) {
  const Shape& dims = before.array.dims;
  RETURN_IF_ERROR(CheckArray(before.name, dims, before.array.values.size()));
  RETURN_IF_ERROR(CheckArray(after.name, after.array.dims, after.array.values.size()));
  if (dims != after.array.dims) {
    return absl::InvalidArgumentError(absl::StrCat("output '", before.name, "' is ", DimsText(dims),
                                                   " before and ", DimsText(after.array.dims),
                                                   " after; expected the same shape"));
  }
  if (before.array.values.empty()) return absl::OkStatus();
  const size_t size = before.array.values.size() / static_cast<size_t>(dims[0]);
  for (size_t at = 0; at < before.array.values.size(); at += size) {
    AddExample(before.array.values.subspan(at, size), after.array.values.subspan(at, size));
  }
  const auto width = static_cast<size_t>(dims.back());
  if (dims.size() < 2 || width < 2) return absl::OkStatus();
  for (size_t at = 0; at < before.array.values.size(); at += width) {
    AddRow(before.array.values.subspan(at, width), after.array.values.subspan(at, width));
  }
  return absl::OkStatus();
}

void Fidelity::Merge(const Fidelity& other) {
  for (Worst worst : other.worst_) {
    worst.index += examples_;
    Keep(worst);
  }
  examples_ += other.examples_;
  rows_ += other.rows_;
  kl_rows_ += other.kl_rows_;
  agreed_ += other.agreed_;
  non_finite_before_ += other.non_finite_before_;
  non_finite_after_ += other.non_finite_after_;
  distributions_ &= other.distributions_;
  signal_ += other.signal_;
  noise_ += other.noise_;
  cosines_ += other.cosines_;
  max_abs_error_ = std::max(max_abs_error_, other.max_abs_error_);
  for (size_t k = 0; k < kl_.size(); ++k) kl_[k] += other.kl_[k];
}

nlohmann::json Fidelity::Result() const {
  const bool probabilities = distributions_ && rows_ > 0;
  const ScoreKind kind = probabilities ? ScoreKind::kProbabilities : ScoreKind::kLogits;
  nlohmann::json worst = nlohmann::json::array();
  for (const Worst& example : worst_) {
    worst.push_back(
        {{"index", example.index}, {"relative_error", JsonNumber(example.relative_error)}});
  }
  const auto kl_rows = static_cast<double>(kl_rows_);
  return {{"examples", examples_},
          {"rows", rows_},
          {"sqnr_db", signal_ > 0 && noise_ > 0 ? JsonNumber(10 * std::log10(signal_ / noise_))
                                                : nlohmann::json()},
          {"cosine", JsonRatio(cosines_, static_cast<double>(examples_))},
          {"max_abs_error", examples_ > 0 ? JsonNumber(max_abs_error_) : nlohmann::json()},
          {"kl", JsonRatio(kl_[static_cast<size_t>(kind)], kl_rows)},
          {"kl_of", probabilities ? "probabilities" : "softmax"},
          {"top1_agreement", JsonRatio(static_cast<double>(agreed_), static_cast<double>(rows_))},
          {"non_finite_before", non_finite_before_},
          {"non_finite_after", non_finite_after_},
          {"worst", std::move(worst)}};
}

}  // namespace lathe::engine
