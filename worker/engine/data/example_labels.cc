// The part of ExampleFile that is about labels and weights.
#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "worker/engine/data/convert.h"
#include "worker/engine/data/example_file.h"

namespace lathe::engine {
namespace {

constexpr int64_t kChunkBytes = 1 << 20;

// Calls fn(first, count, bytes) for chunks of the array's rows, which read(first, count, out)
// reads.
template <typename Read, typename Fn>
absl::Status ForChunks(const ArrayInfo& info, const Read& read, const Fn& fn) {
  const int64_t step = std::max<int64_t>(1, kChunkBytes / std::max<int64_t>(1, info.row_bytes));
  std::string raw(static_cast<size_t>(std::min(step, info.rows) * info.row_bytes), '\0');
  for (int64_t first = 0; first < info.rows; first += step) {
    const int64_t count = std::min(step, info.rows - first);
    RETURN_IF_ERROR(read(first, count, raw.data()));
    RETURN_IF_ERROR(fn(first, count, raw.data()));
  }
  return absl::OkStatus();
}

// Where the one 1 of a row stands; -1 when the row is not one-hot.
int64_t HotOf(const double* row, int64_t classes) {
  int64_t hot = -1;
  for (int64_t c = 0; c < classes; ++c) {
    if (row[c] == 0) continue;
    if (row[c] != 1 || hot >= 0) return -1;
    hot = c;
  }
  return hot;
}

}  // namespace

absl::Status ExampleFile::ScanLabels() {
  if (labels_array_ < 0) return absl::OkStatus();
  const ArrayInfo& info = file_->arrays()[labels_array_];
  if (info.row_bytes == 0 || info.row_bytes > limits::kMaxBatchBytes / 8) {
    return Wrong(kLabelsKey, absl::StrCat("an example's labels have ", info.row_bytes, " bytes"));
  }
  const int64_t width = info.row_bytes / *DTypeBytes(info.dtype, 1);
  const bool floats = IsFloat(info.dtype);
  bool one_hot = info.shape.size() == 2 && width > 1;
  labels_.minimum = std::numeric_limits<int64_t>::max();
  labels_.maximum = std::numeric_limits<int64_t>::min();
  int64_t least_hot = width;
  int64_t most_hot = -1;
  std::vector<double> doubles;
  std::vector<int64_t> ints;
  const auto scan = [&](int64_t first, int64_t count, const char* raw) -> absl::Status {
    const int64_t elements = count * width;
    doubles.resize(static_cast<size_t>(elements));
    ConvertError error = ToDoubles(info.dtype, raw, elements, doubles.data());
    if (!floats && error.ok()) {
      ints.resize(static_cast<size_t>(elements));
      error = ToInts(info.dtype, raw, elements, ints.data());
      const auto [low, high] = std::minmax_element(ints.begin(), ints.end());
      labels_.minimum = std::min(labels_.minimum, *low);
      labels_.maximum = std::max(labels_.maximum, *high);
    }
    for (int64_t i = 0; floats && error.ok() && i < elements; ++i) {
      if (!std::isfinite(doubles[i])) error = {i, "is infinite"};
    }
    if (!error.ok()) {
      return Wrong(kLabelsKey,
                   absl::StrCat("example ", first + error.index / width, ": ", error.what));
    }
    for (int64_t row = 0; one_hot && row < count; ++row) {
      const int64_t hot = HotOf(doubles.data() + row * width, width);
      one_hot = hot >= 0;
      least_hot = std::min(least_hot, hot);
      most_hot = std::max(most_hot, hot);
    }
    return absl::OkStatus();
  };
  const auto read = [this](int64_t first, int64_t count, char* out) {
    return ReadRows(labels_array_, first, count, out);
  };
  RETURN_IF_ERROR(ForChunks(info, read, scan));
  labels_.shape.assign(info.shape.begin() + 1, info.shape.end());
  if (one_hot) {
    labels_ = {LabelKind::kOneHot, {}, width, least_hot, most_hot};
  } else if (floats) {
    labels_.kind = LabelKind::kFloat;
    labels_.minimum = labels_.maximum = 0;
  } else if (width == 1) {
    labels_.kind = LabelKind::kClass;
    labels_.shape.clear();
  } else {
    labels_.kind = LabelKind::kIds;
  }
  const bool classes = labels_.kind == LabelKind::kClass || labels_.kind == LabelKind::kOneHot;
  if (classes && size_ > 1 && labels_.minimum == labels_.maximum) {
    warnings_.push_back(absl::StrCat(name_, ": key 'labels': all ", size_,
                                     " examples have the class ", labels_.minimum,
                                     "; accuracy says little of them"));
  }
  return absl::OkStatus();
}

absl::Status ExampleFile::ReadLabels(int64_t first, int64_t count, char* out) {
  const ArrayInfo& info = file_->arrays()[labels_array_];
  const int64_t width = info.row_bytes / *DTypeBytes(info.dtype, 1);
  std::string raw(static_cast<size_t>(count * info.row_bytes), '\0');
  RETURN_IF_ERROR(ReadRows(labels_array_, first, count, raw.data()));
  ConvertError error;
  if (labels_.kind == LabelKind::kOneHot) {
    std::vector<double> row(static_cast<size_t>(width));
    for (int64_t i = 0; i < count && error.ok(); ++i) {
      error = ToDoubles(info.dtype, raw.data() + i * info.row_bytes, width, row.data());
      reinterpret_cast<int64_t*>(out)[i] = HotOf(row.data(), width);
    }
  } else if (labels_.kind == LabelKind::kFloat) {
    error = Convert(info.dtype, raw.data(), count * width, DType::kFloat, out);
  } else {
    error = ToInts(info.dtype, raw.data(), count * width, reinterpret_cast<int64_t*>(out));
  }
  if (error.ok()) return absl::OkStatus();
  return Wrong(kLabelsKey, absl::StrCat("example ", first + error.index / width, ": ", error.what));
}

absl::Status ExampleFile::ScanWeights() {
  if (weights_array_ < 0) return absl::OkStatus();
  const ArrayInfo& info = file_->arrays()[weights_array_];
  if (info.row_bytes != DTypeBytes(info.dtype, 1)) {
    return Wrong(kWeightsKey, absl::StrCat("expected one number an example, [", size_, "], got [",
                                           absl::StrJoin(info.shape, ","), "]"));
  }
  double sum = 0;
  std::vector<double> values;
  const auto scan = [&](int64_t first, int64_t count, const char* raw) -> absl::Status {
    values.resize(static_cast<size_t>(count));
    ConvertError error = ToDoubles(info.dtype, raw, count, values.data());
    for (int64_t i = 0; i < count && error.ok(); ++i) {
      if (values[i] < 0 || values[i] > std::numeric_limits<float>::max()) {
        error = {i, absl::StrCat("is ", values[i], "; expected [0, inf)")};
      }
      sum += values[i];
    }
    if (error.ok()) return absl::OkStatus();
    return Wrong(kWeightsKey, absl::StrCat("example ", first + error.index, ": ", error.what));
  };
  const auto read = [this](int64_t first, int64_t count, char* out) {
    return ReadRows(weights_array_, first, count, out);
  };
  RETURN_IF_ERROR(ForChunks(info, read, scan));
  return sum > 0 ? absl::OkStatus() : Wrong(kWeightsKey, "all are 0; no example would count");
}

absl::Status ExampleFile::ReadWeights(int64_t first, int64_t count, char* out) {
  const ArrayInfo& info = file_->arrays()[weights_array_];
  std::string raw(static_cast<size_t>(count * info.row_bytes), '\0');
  std::vector<double> values(static_cast<size_t>(count));
  RETURN_IF_ERROR(ReadRows(weights_array_, first, count, raw.data()));
  ConvertError error = ToDoubles(info.dtype, raw.data(), count, values.data());
  if (error.ok()) error = FromDoubles(values.data(), count, DType::kFloat, out);
  if (error.ok()) return absl::OkStatus();
  return Wrong(kWeightsKey, absl::StrCat("example ", first + error.index, ": ", error.what));
}

absl::Status CheckClasses(const LabelSummary& labels, int64_t classes, const std::string& where) {
  if (labels.kind == LabelKind::kOneHot && labels.classes != classes) {
    return absl::InvalidArgumentError(absl::StrCat(where, ": the one-hot labels have ",
                                                   labels.classes, " classes, but the output has ",
                                                   classes));
  }
  if (labels.kind != LabelKind::kClass && labels.kind != LabelKind::kOneHot) {
    return absl::InvalidArgumentError(absl::StrCat(
        where, ": classification needs integer classes [N] or one-hot labels [N,", classes, "]",
        labels.kind == LabelKind::kFloat ? ", got floats: save them as integers" : ""));
  }
  if (labels.minimum < 0 || labels.maximum >= classes) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ": the labels reach from ", labels.minimum, " to ", labels.maximum,
                     ", but the output has ", classes, " classes: expected [0, ", classes, ")"));
  }
  return absl::OkStatus();
}

}  // namespace lathe::engine
