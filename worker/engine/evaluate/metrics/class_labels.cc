#include "worker/engine/evaluate/metrics/class_labels.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace lathe::engine {
namespace {

// Whole numbers up to here are exact in float32.
constexpr float kMaxWholeFloat = 16777216.0f;

template <typename T>
absl::StatusOr<std::vector<int64_t>> FromIds(const std::string& key, std::span<const T> values,
                                             const NamedArray& scores, const ClassLayout& layout,
                                             std::optional<int64_t> ignore) {
  std::vector<int64_t> ids(values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    if constexpr (std::is_floating_point_v<T>) {
      if (!(std::abs(values[i]) <= kMaxWholeFloat) || values[i] != std::trunc(values[i])) {
        return absl::InvalidArgumentError(
            absl::StrCat("'", key, "'[", i, "] of the batch is ", values[i],
                         "; expected a class id, a whole number from 0 on"));
      }
    }
    ids[i] = static_cast<int64_t>(values[i]);
    if (ignore && ids[i] == *ignore) continue;
    if (ids[i] < 0 || ids[i] >= layout.classes) {
      return absl::InvalidArgumentError(
          absl::StrCat("'", key, "'[", i, "] of the batch is ", ids[i],
                       "; expected a class id in 0..", layout.classes - 1, ", as output '",
                       scores.name, "' ", DimsText(scores.array.dims), " has ", layout.classes,
                       " classes. Number the classes from 0 on, or name the label to pass over"));
    }
  }
  return ids;
}

template <typename T>
absl::StatusOr<std::vector<int64_t>> FromOneHot(const std::string& key, std::span<const T> values,
                                                const ClassLayout& layout) {
  std::vector<int64_t> ids;
  ids.reserve(values.size() / static_cast<size_t>(layout.columns));
  for (int64_t block = 0; block < layout.examples * layout.outer; ++block) {
    for (int64_t i = 0; i < layout.inner; ++i) {
      int64_t ones = 0;
      int64_t zeros = 0;
      int64_t id = 0;
      for (int64_t c = 0; c < layout.columns; ++c) {
        const T value =
            values[static_cast<size_t>((block * layout.columns + c) * layout.inner + i)];
        if (value == T{1}) id = c;
        ones += value == T{1};
        zeros += value == T{0};
      }
      if (ones != 1 || ones + zeros != layout.columns) {
        return absl::InvalidArgumentError(
            absl::StrCat("row ", ids.size(), " of '", key,
                         "' in the batch is not one-hot: expected a single 1 among zeros, got ",
                         ones, " ones and ", zeros, " zeros of ", layout.columns, " values"));
      }
      ids.push_back(id);
    }
  }
  return ids;
}

template <typename Array>
absl::StatusOr<std::vector<int64_t>> Convert(const std::string& key, const Array& array,
                                             const NamedArray& scores, const ClassLayout& layout,
                                             std::optional<int64_t> ignore) {
  RETURN_IF_ERROR(CheckArray(key, array.dims, array.values.size()));
  const Shape dims = WithoutOnes(array.dims);
  if (dims == WithoutOnes(layout.position_dims)) {
    return FromIds(key, array.values, scores, layout, ignore);
  }
  if (layout.columns > 1 && dims == WithoutOnes(scores.array.dims)) {
    return FromOneHot(key, array.values, layout);
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "'", key, "' is ", DimsText(array.dims), "; output '", scores.name, "' ",
      DimsText(scores.array.dims), " expects class ids of ", DimsText(layout.position_dims),
      layout.columns > 1 ? absl::StrCat(", or one-hot ", DimsText(scores.array.dims)) : ""));
}

}  // namespace

void ClassLayout::Row(std::span<const float> scores, int64_t example, int64_t position,
                      float* row) const {
  const int64_t block = example * outer + position / inner;
  const int64_t at = block * columns * inner + position % inner;
  for (int64_t c = 0; c < columns; ++c) row[c] = scores[static_cast<size_t>(at + c * inner)];
}

absl::StatusOr<ClassLayout> ClassLayoutOf(const NamedArray& scores, int class_axis) {
  const Shape& dims = scores.array.dims;
  ClassLayout layout;
  layout.examples = scores.array.examples();
  if (dims.size() == 1) {
    layout.columns = 1;
    layout.classes = 2;
    layout.position_dims = dims;
    return layout;
  }
  const auto rank = static_cast<int64_t>(dims.size());
  const int64_t axis = class_axis < 0 ? class_axis + rank : class_axis;
  if (axis < 1 || axis >= rank) {
    return absl::InvalidArgumentError(absl::StrCat("output '", scores.name, "' ", DimsText(dims),
                                                   " has no class axis ", class_axis,
                                                   "; expected one of 1..", rank - 1));
  }
  for (int64_t i = 0; i < rank; ++i) {
    const int64_t size = dims[static_cast<size_t>(i)];
    if (i == axis) {
      layout.columns = size;
      continue;
    }
    layout.position_dims.push_back(size);
    if (i > 0) (i < axis ? layout.outer : layout.inner) *= size;
  }
  if (layout.columns == 0) {
    return absl::InvalidArgumentError(absl::StrCat("output '", scores.name, "' ", DimsText(dims),
                                                   " has no classes along axis ", axis));
  }
  layout.classes = layout.columns == 1 ? 2 : layout.columns;
  return layout;
}

absl::StatusOr<std::vector<int64_t>> ClassIds(const LabelBatch& labels, const NamedArray& scores,
                                              const ClassLayout& layout,
                                              std::optional<int64_t> ignore) {
  if (labels.ids) return Convert(labels.key, *labels.ids, scores, layout, ignore);
  if (labels.values) return Convert(labels.key, *labels.values, scores, layout, ignore);
  return absl::InvalidArgumentError(absl::StrCat(
      "'", labels.key, "' is missing; classification needs the class of each example"));
}

}  // namespace lathe::engine
