// Where the decisions of a classifier lie in its output, and the class that each should have been.
#ifndef LATHE_WORKER_ENGINE_EVALUATE_METRICS_CLASS_LABELS_H_
#define LATHE_WORKER_ENGINE_EVALUATE_METRICS_CLASS_LABELS_H_

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/engine/evaluate/metrics/arrays.h"

namespace lathe::engine {

// Scores [n, classes], [n, classes, d1, ...] (one decision a position, as in segmentation), or,
// with another class axis, [n, d1, ..., classes]. Decisions are numbered example by example, and
// within one in row-major order of the positions, which is the order of labels [n, d1, ...].
// [n] and [n, 1] are one score of the second of two classes.
struct ClassLayout {
  int64_t examples = 0;
  int64_t columns = 0;  // scores a decision; 1: two classes, one score
  int64_t classes = 0;
  int64_t outer = 1;    // positions along the axes before the classes
  int64_t inner = 1;    // and along those after them
  Shape position_dims;  // [n, d1, ...]

  int64_t positions() const { return outer * inner; }
  // Copies the scores of decision `position` of `example` to `row` [columns].
  void Row(std::span<const float> scores, int64_t example, int64_t position, float* row) const;
};

// class_axis counts from the end when negative. INVALID_ARGUMENT when there is no such axis, it has
// no classes, or the first axis is meant.
absl::StatusOr<ClassLayout> ClassLayoutOf(const NamedArray& scores, int class_axis);

// The class ids [n * positions] of `labels`: class ids (integers, or floats that are whole numbers)
// of shape [n, d1, ...], or one-hot rows of the shape of the scores. Axes of size 1 do not matter.
// A decision whose label is `ignore` may have any value there. INVALID_ARGUMENT names the key and
// what was expected and given: a shape that does not fit, a label out of range, a row that is not
// one-hot.
absl::StatusOr<std::vector<int64_t>> ClassIds(const LabelBatch& labels, const NamedArray& scores,
                                              const ClassLayout& layout,
                                              std::optional<int64_t> ignore);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_EVALUATE_METRICS_CLASS_LABELS_H_
