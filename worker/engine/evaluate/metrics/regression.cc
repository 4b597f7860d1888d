#include "worker/engine/evaluate/metrics/regression.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/engine/evaluate/metrics/json_number.h"

namespace lathe::engine {
namespace {

// The targets as float64, in the order of the predictions.
absl::StatusOr<std::vector<double>> Targets(const NamedArray& predictions,
                                            const LabelBatch& labels) {
  if (!labels.values && !labels.ids) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", labels.key, "' is missing; regression needs a target for each example"));
  }
  const Shape& dims = labels.values ? labels.values->dims : labels.ids->dims;
  const size_t size = labels.values ? labels.values->values.size() : labels.ids->values.size();
  RETURN_IF_ERROR(CheckArray(labels.key, dims, size));
  if (WithoutOnes(dims) != WithoutOnes(predictions.array.dims)) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", labels.key, "' is ", DimsText(dims),
                     "; expected a target for each element of output '", predictions.name, "' ",
                     DimsText(predictions.array.dims)));
  }
  std::vector<double> targets;
  if (labels.ids) {
    targets.assign(labels.ids->values.begin(), labels.ids->values.end());
  } else {
    targets.assign(labels.values->values.begin(), labels.values->values.end());
  }
  for (size_t i = 0; i < targets.size(); ++i) {
    if (!std::isfinite(targets[i])) {
      return absl::InvalidArgumentError(absl::StrCat("'", labels.key, "'[", i, "] of the batch is ",
                                                     targets[i], "; expected a finite number"));
    }
  }
  return targets;
}

}  // namespace

absl::Status Regression::Add(const NamedArray& predictions, const LabelBatch& labels,
                             std::vector<ExampleScore>* examples) {
  const FloatArray& array = predictions.array;
  RETURN_IF_ERROR(CheckArray(predictions.name, array.dims, array.values.size()));
  RETURN_IF_ERROR(CheckWeights(labels.weights, array.examples()));
  ASSIGN_OR_RETURN(const std::vector<double> targets, Targets(predictions, labels));
  if (array.examples() == 0) return absl::OkStatus();
  const size_t columns = targets.size() / static_cast<size_t>(array.examples());
  if (!columns_.empty() && columns_.size() != columns) {
    return absl::InvalidArgumentError(
        absl::StrCat("output '", predictions.name, "' ", DimsText(array.dims), " has ", columns,
                     " numbers an example; earlier batches had ", columns_.size()));
  }
  columns_.resize(columns);

  size_t at = 0;
  for (int64_t e = 0; e < array.examples(); ++e) {
    const double weight = labels.weights.empty() ? 1 : labels.weights[static_cast<size_t>(e)];
    ExampleScore score;
    for (Column& column : columns_) {
      const double target = targets[at];
      const double prediction = array.values[at++];
      if (!std::isfinite(prediction)) {
        ++non_finite_;
        continue;
      }
      ++column.count;
      if (weight == 0) continue;
      const double error = prediction - target;
      column.weight += weight;
      column.absolute += weight * std::abs(error);
      column.squared += weight * error * error;
      const double before = target - column.mean;
      column.mean += before * weight / column.weight;
      column.moment += weight * before * (target - column.mean);
      for (int k = 0; k < kScoreKinds; ++k) {
        score.numerator[static_cast<size_t>(k)] += weight * std::abs(error);
        score.denominator[static_cast<size_t>(k)] += weight;
      }
    }
    ++examples_;
    if (examples != nullptr) examples->push_back(score);
  }
  return absl::OkStatus();
}

absl::Status Regression::Merge(const Regression& other) {
  if (!columns_.empty() && !other.columns_.empty() && columns_.size() != other.columns_.size()) {
    return absl::InvalidArgumentError(absl::StrCat("parts of one evaluation have ", columns_.size(),
                                                   " and ", other.columns_.size(),
                                                   " numbers an example"));
  }
  examples_ += other.examples_;
  non_finite_ += other.non_finite_;
  if (columns_.empty()) columns_.resize(other.columns_.size());
  for (size_t i = 0; i < other.columns_.size(); ++i) {
    Column& into = columns_[i];
    const Column& from = other.columns_[i];
    into.count += from.count;
    into.absolute += from.absolute;
    into.squared += from.squared;
    const double weight = into.weight + from.weight;
    if (weight == 0) continue;
    const double apart = from.mean - into.mean;
    into.moment += from.moment + apart * apart * into.weight * from.weight / weight;
    into.mean += apart * from.weight / weight;
    into.weight = weight;
  }
  return absl::OkStatus();
}

std::vector<std::string> Regression::Warnings() const {
  std::vector<std::string> warnings;
  if (non_finite_ > 0) {
    warnings.push_back(
        absl::StrCat(non_finite_, " predicted numbers are NaN or infinite: they are left out"));
  }
  return warnings;
}

nlohmann::json Regression::Result() const {
  double mae = 0;
  double rmse = 0;
  double r2 = 0;
  bool measured = !columns_.empty();
  bool varied = measured;
  for (const Column& column : columns_) {
    measured &= column.weight > 0;
    varied &= column.weight > 0 && column.count >= 2;
    if (column.weight == 0) continue;
    mae += column.absolute / column.weight;
    rmse += std::sqrt(column.squared / column.weight);
    if (column.moment > 0) {
      r2 += 1 - column.squared / column.moment;
    } else {
      r2 += column.squared == 0 ? 1 : 0;
    }
  }
  const auto columns = static_cast<double>(columns_.size());
  return {{"examples", examples_},
          {"columns", columns_.size()},
          {"non_finite", non_finite_},
          {"mae", measured ? JsonNumber(mae / columns) : nlohmann::json()},
          {"rmse", measured ? JsonNumber(rmse / columns) : nlohmann::json()},
          {"r2", varied ? JsonNumber(r2 / columns) : nlohmann::json()}};
}

}  // namespace lathe::engine
