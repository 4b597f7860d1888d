#include "worker/engine/evaluate/metrics/embedding.h"

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "worker/engine/evaluate/metrics/json_number.h"

namespace lathe::engine {
namespace {

// Rows of a tile of the table of similarities.
constexpr int64_t kTile = 256;

using Rows = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

// Rows [begin, begin + count) of values, each of length 1, or 0 where it was 0.
Rows UnitRows(const std::vector<float>& values, int64_t begin, int64_t count, int64_t width) {
  using FloatRows = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  const Eigen::Map<const FloatRows> part(values.data() + begin * width, count, width);
  Rows rows = part.cast<double>();
  for (int64_t i = 0; i < count; ++i) {
    const double norm = rows.row(i).norm();
    if (norm > 0) rows.row(i) /= norm;
  }
  return rows;
}

}  // namespace

std::vector<int64_t> NearestNeighbours(const std::vector<float>& values, int64_t count,
                                       int64_t width) {
  std::vector<int64_t> nearest(static_cast<size_t>(count), -1);
  std::vector<double> best(static_cast<size_t>(count), -std::numeric_limits<double>::infinity());
  for (int64_t i0 = 0; i0 < count; i0 += kTile) {
    const Rows left = UnitRows(values, i0, std::min(kTile, count - i0), width);
    for (int64_t j0 = 0; j0 < count; j0 += kTile) {
      const Rows right = UnitRows(values, j0, std::min(kTile, count - j0), width);
      const Rows similarity = left * right.transpose();
      for (int64_t i = 0; i < left.rows(); ++i) {
        for (int64_t j = 0; j < right.rows(); ++j) {
          const auto at = static_cast<size_t>(i0 + i);
          if (i0 + i == j0 + j || !(similarity(i, j) > best[at])) continue;
          best[at] = similarity(i, j);
          nearest[at] = j0 + j;
        }
      }
    }
  }
  return nearest;
}

absl::Status EmbeddingComparison::Add(const NamedArray& before, const NamedArray& after) {
  const Shape& dims = before.array.dims;
  RETURN_IF_ERROR(CheckArray(before.name, dims, before.array.values.size()));
  RETURN_IF_ERROR(CheckArray(after.name, after.array.dims, after.array.values.size()));
  if (dims != after.array.dims) {
    return absl::InvalidArgumentError(absl::StrCat("output '", before.name, "' is ", DimsText(dims),
                                                   " before and ", DimsText(after.array.dims),
                                                   " after; expected the same shape"));
  }
  if (dims[0] == 0) return absl::OkStatus();
  const size_t width = before.array.values.size() / static_cast<size_t>(dims[0]);
  if (width == 0 || (width_ != 0 && width != static_cast<size_t>(width_))) {
    return absl::InvalidArgumentError(absl::StrCat(
        "output '", before.name, "' ", DimsText(dims), " has ", width, " numbers an example; ",
        width == 0 ? "expected at least 1"
                   : absl::StrCat("earlier batches had ", width_,
                                  ", and embeddings are compared among all examples")));
  }
  width_ = static_cast<int64_t>(width);
  for (size_t at = 0; at < before.array.values.size(); at += width) {
    const auto x = before.array.values.subspan(at, width);
    const auto y = after.array.values.subspan(at, width);
    double dot = 0;
    double norm_x = 0;
    double norm_y = 0;
    for (size_t i = 0; i < width; ++i) {
      dot += static_cast<double>(x[i]) * y[i];
      norm_x += static_cast<double>(x[i]) * x[i];
      norm_y += static_cast<double>(y[i]) * y[i];
    }
    ++examples_;
    // Squares of float32 do not overflow float64, so that this is about the elements.
    if (!std::isfinite(norm_x) || !std::isfinite(norm_y)) {
      ++non_finite_;
      continue;
    }
    if (norm_x > 0 && norm_y > 0) {
      cosines_ += std::clamp(dot / (std::sqrt(norm_x) * std::sqrt(norm_y)), -1.0, 1.0);
    } else {
      cosines_ += norm_x == norm_y ? 1 : 0;
    }
    if (kept_ < limits::kMaxNeighbourExamples &&
        (kept_ + 1) * width_ <= limits::kMaxNeighbourFloats) {
      before_.insert(before_.end(), x.begin(), x.end());
      after_.insert(after_.end(), y.begin(), y.end());
      ++kept_;
    }
  }
  return absl::OkStatus();
}

std::vector<std::string> EmbeddingComparison::Warnings() const {
  std::vector<std::string> warnings;
  if (non_finite_ > 0) {
    warnings.push_back(absl::StrCat(non_finite_, " of ", examples_,
                                    " embeddings are NaN or infinite: they are left out"));
  }
  return warnings;
}

nlohmann::json EmbeddingComparison::Result() const {
  int64_t same = 0;
  if (kept_ > 1) {
    const std::vector<int64_t> before = NearestNeighbours(before_, kept_, width_);
    const std::vector<int64_t> after = NearestNeighbours(after_, kept_, width_);
    for (size_t i = 0; i < before.size(); ++i) same += before[i] == after[i];
  }
  const auto compared = static_cast<double>(kept_ > 1 ? kept_ : 0);
  return {{"examples", examples_},
          {"non_finite", non_finite_},
          {"cosine", JsonRatio(cosines_, static_cast<double>(examples_ - non_finite_))},
          {"neighbour_agreement", JsonRatio(static_cast<double>(same), compared)},
          {"neighbour_examples", kept_}};
}

}  // namespace lathe::engine
