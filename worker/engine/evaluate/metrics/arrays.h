// What a model put out and what a data set says it should have: arrays that are borrowed, never
// copied. Everything here comes from outside, and is checked before a metric looks at a value.
#ifndef LATHE_WORKER_ENGINE_EVALUATE_METRICS_ARRAYS_H_
#define LATHE_WORKER_ENGINE_EVALUATE_METRICS_ARRAYS_H_

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "worker/engine/tensor/tensor.h"

namespace lathe::engine {

// Row-major; dims[0] counts the examples of the batch.
struct FloatArray {
  Shape dims;
  std::span<const float> values;

  int64_t examples() const { return dims.empty() ? 0 : dims[0]; }
};

struct IntArray {
  Shape dims;
  std::span<const int64_t> values;

  int64_t examples() const { return dims.empty() ? 0 : dims[0]; }
};

struct NamedArray {
  std::string name;
  FloatArray array;
};

// The outputs of one run of a model, in the order of its graph.
struct OutputBatch {
  std::vector<NamedArray> outputs;
};

// What a data set says of the same examples.
struct LabelBatch {
  std::string key = "labels";        // what messages call it
  std::optional<IntArray> ids;       // class ids or tokens
  std::optional<FloatArray> values;  // targets of regression, one-hot classes, true boxes
  std::span<const float> weights;    // one an example, >= 0; empty: every example counts 1
};

// INVALID_ARGUMENT, naming `name`, when there is no axis of examples, or the values do not fill the
// dimensions.
absl::Status CheckArray(absl::string_view name, const Shape& dims, size_t values);

// INVALID_ARGUMENT when there is not one weight an example, or one of them is negative, infinite or
// NaN. No weights at all are fine.
absl::Status CheckWeights(std::span<const float> weights, int64_t examples);

// The output called `name` (empty: the first one), checked. NOT_FOUND names those that there are.
absl::StatusOr<NamedArray> FindOutput(const OutputBatch& batch, absl::string_view name);

// "[32, 10]", for messages.
std::string DimsText(const Shape& dims);

// The same but for axes of size 1 after the first one.
Shape WithoutOnes(const Shape& dims);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_EVALUATE_METRICS_ARRAYS_H_
