// The part of ExampleFile that is about true boxes.
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

constexpr int64_t kBoxNumbers = 4;
constexpr int64_t kNoBox = -1;  // class of padding
constexpr int64_t kChunkExamples = 256;
constexpr double kMaxClassId = 16777216;  // whole numbers are exact in float32 up to here

std::string ShapeText(const Shape& shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ","), "]");
}

}  // namespace

absl::Status ExampleFile::ScanBoxes() {
  if (boxes_array_ < 0 && classes_array_ < 0 && counts_array_ < 0) return absl::OkStatus();
  if (boxes_array_ < 0 || classes_array_ < 0) {
    return Wrong(boxes_array_ < 0 ? kBoxesKey : kClassesKey,
                 "is missing: true boxes need boxes [examples, most, 4] and classes [examples, "
                 "most], and may have box_counts [examples]");
  }
  if (labels_array_ >= 0) {
    return Wrong(kBoxesKey, "a file has labels or true boxes, not both");
  }
  const ArrayInfo& boxes = file_->arrays()[boxes_array_];
  const ArrayInfo& classes = file_->arrays()[classes_array_];
  if (boxes.shape.size() != 3 || boxes.shape[2] != kBoxNumbers || boxes.shape[1] < 1) {
    return Wrong(kBoxesKey,
                 absl::StrCat("expected [examples, most, 4], got ", ShapeText(boxes.shape)));
  }
  const int64_t most = boxes.shape[1];
  if (most > limits::kMaxDetectionBoxes || boxes.row_bytes > limits::kMaxBatchBytes / 8) {
    return Wrong(kBoxesKey, absl::StrCat("holds ", most, " boxes an example; at most ",
                                         limits::kMaxDetectionBoxes));
  }
  if (classes.shape != Shape{boxes.rows, most} || IsFloat(classes.dtype)) {
    return Wrong(kClassesKey,
                 absl::StrCat("expected integers ", ShapeText({boxes.rows, most}), ", got ",
                              DTypeName(classes.dtype), " ", ShapeText(classes.shape)));
  }
  if (counts_array_ >= 0) {
    const ArrayInfo& counts = file_->arrays()[counts_array_];
    if (counts.shape != Shape{boxes.rows} || IsFloat(counts.dtype)) {
      return Wrong(kBoxCountsKey,
                   absl::StrCat("expected integers ", ShapeText({boxes.rows}), ", got ",
                                DTypeName(counts.dtype), " ", ShapeText(counts.shape)));
    }
  }
  labels_ = {
      LabelKind::kBoxes, {most, kBoxNumbers}, 0, std::numeric_limits<int64_t>::max(), kNoBox};
  std::vector<float> numbers;
  std::vector<int64_t> ids;
  const int64_t step = std::clamp((int64_t{1} << 16) / most, int64_t{1}, kChunkExamples);
  for (int64_t first = 0; first < size_; first += step) {
    const int64_t count = std::min(step, size_ - first);
    numbers.resize(static_cast<size_t>(count * most * kBoxNumbers));
    ids.resize(static_cast<size_t>(count * most));
    RETURN_IF_ERROR(ReadBoxes(first, count, numbers.data(), ids.data()));
    for (const int64_t id : ids) {
      if (id < 0) continue;
      labels_.minimum = std::min(labels_.minimum, id);
      labels_.maximum = std::max(labels_.maximum, id);
    }
  }
  if (labels_.maximum == kNoBox) {
    return Wrong(kBoxesKey, "all boxes of all examples are padding; there is nothing to find");
  }
  return absl::OkStatus();
}

absl::Status ExampleFile::ReadBoxes(int64_t first, int64_t count, float* boxes, int64_t* classes) {
  const ArrayInfo& info = file_->arrays()[boxes_array_];
  const ArrayInfo& ids = file_->arrays()[classes_array_];
  const int64_t most = info.shape[1];
  std::string raw(static_cast<size_t>(count * info.row_bytes), '\0');
  RETURN_IF_ERROR(ReadRows(boxes_array_, first, count, raw.data()));
  std::vector<double> numbers(static_cast<size_t>(count * most * kBoxNumbers));
  ToDoublesOrNan(info.dtype, raw.data(), count * most * kBoxNumbers, numbers.data());
  raw.assign(static_cast<size_t>(count * ids.row_bytes), '\0');
  RETURN_IF_ERROR(ReadRows(classes_array_, first, count, raw.data()));
  if (const ConvertError error = ToInts(ids.dtype, raw.data(), count * most, classes);
      !error.ok()) {
    return Wrong(kClassesKey,
                 absl::StrCat("example ", first + error.index / most, ": ", error.what));
  }
  std::vector<int64_t> counts(static_cast<size_t>(count), most);
  if (counts_array_ >= 0) {
    const ArrayInfo& given = file_->arrays()[counts_array_];
    raw.assign(static_cast<size_t>(count * given.row_bytes), '\0');
    RETURN_IF_ERROR(ReadRows(counts_array_, first, count, raw.data()));
    const ConvertError error = ToInts(given.dtype, raw.data(), count, counts.data());
    for (int64_t e = 0; e < count; ++e) {
      if (error.ok() && counts[e] >= 0 && counts[e] <= most) continue;
      return Wrong(kBoxCountsKey, absl::StrCat("example ", first + e, ": is ", counts[e],
                                               "; expected [0, ", most, "]"));
    }
  }
  for (int64_t i = 0; i < count * most; ++i) {
    const double* box = numbers.data() + i * kBoxNumbers;
    const bool no_box = i % most >= counts[i / most] || classes[i] < 0 ||
                        std::all_of(box, box + kBoxNumbers, [](double v) { return std::isnan(v); });
    float* out = boxes + i * kBoxNumbers;
    for (int64_t k = 0; k < kBoxNumbers; ++k) out[k] = no_box ? 0 : static_cast<float>(box[k]);
    if (no_box) {
      classes[i] = kNoBox;
      continue;
    }
    const bool finite =
        std::all_of(out, out + kBoxNumbers, [](float v) { return std::isfinite(v); });
    if (!finite || out[2] < out[0] || out[3] < out[1]) {
      return Wrong(kBoxesKey,
                   absl::StrCat("example ", first + i / most, ", box ", i % most, " is [", box[0],
                                ", ", box[1], ", ", box[2], ", ", box[3],
                                "]; expected x1 <= x2 and y1 <= y2, or class -1 for none"));
    }
    if (static_cast<double>(classes[i]) > kMaxClassId) {
      return Wrong(kClassesKey, absl::StrCat("example ", first + i / most, ": is ", classes[i],
                                             "; expected at most ", kMaxClassId));
    }
  }
  return absl::OkStatus();
}

}  // namespace lathe::engine
