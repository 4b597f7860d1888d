#include "worker/engine/evaluate/weight_histogram.h"

#include <algorithm>
#include <vector>

#include "common/status_macros.h"
#include "worker/engine/linalg/products.h"

namespace lathe::engine {

absl::StatusOr<WeightHistogram> CountWeights(const WeightPieces& pieces, Parallel& parallel) {
  constexpr int64_t kMaxPieces = kMaxCountedWeights / kPieceElements;
  const int64_t stride = std::max<int64_t>(1, (pieces.count() + kMaxPieces - 1) / kMaxPieces);
  const auto visited = static_cast<size_t>((pieces.count() + stride - 1) / stride);
  const auto slot = [stride](const WeightPiece& piece) {
    return static_cast<size_t>(piece.index / stride);
  };
  std::vector<ValueRange> ranges(visited);
  RETURN_IF_ERROR(pieces.ForEach(
      parallel,
      [&](const WeightPiece& piece) {
        ranges[slot(piece)].Add(piece.before);
        ranges[slot(piece)].Add(piece.after);
      },
      stride));
  ValueRange range;
  for (const ValueRange& part : ranges) range.Add(part);
  WeightHistogram whole;
  whole.sampled = stride > 1;
  for (Histogram* side : {&whole.before, &whole.after}) side->Cover(range);
  std::vector<WeightHistogram> parts(visited, whole);
  RETURN_IF_ERROR(pieces.ForEach(
      parallel,
      [&](const WeightPiece& piece) {
        parts[slot(piece)].before.Add(piece.before);
        parts[slot(piece)].after.Add(piece.after);
      },
      stride));
  for (const WeightHistogram& part : parts) {
    whole.before.Merge(part.before);
    whole.after.Merge(part.after);
  }
  return whole;
}

WeightHistogram CountWeights(std::span<const float> before, std::span<const float> after) {
  ValueRange range;
  range.Add(before);
  range.Add(after);
  WeightHistogram histogram;
  histogram.before.Cover(range);
  histogram.after.Cover(range);
  histogram.before.Add(before);
  histogram.after.Add(after);
  return histogram;
}

WeightHistogram CountProduct(int64_t m, int64_t n, int64_t r, const float* before,
                             const float* left, const float* right, Parallel& parallel) {
  // Evenly spaced rows, so that the product of them fits into a piece or two.
  const int64_t most = std::max<int64_t>(1, kPieceElements / std::max<int64_t>(1, n));
  const int64_t stride = std::max<int64_t>(1, (m + most - 1) / most);
  std::vector<float> rows_before;
  std::vector<float> rows_left;
  int64_t rows = 0;
  for (int64_t row = 0; row < m; row += stride, ++rows) {
    rows_before.insert(rows_before.end(), before + row * n, before + (row + 1) * n);
    rows_left.insert(rows_left.end(), left + row * r, left + (row + 1) * r);
  }
  std::vector<float> product(rows_before.size());
  Multiply<float>(Side::kPlain, Side::kPlain, rows, n, r, 1, rows_left.data(), right, 0,
                  product.data(), parallel);
  WeightHistogram histogram = CountWeights(rows_before, product);
  histogram.sampled = stride > 1;
  return histogram;
}

}  // namespace lathe::engine
