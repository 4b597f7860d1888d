#include "worker/engine/evaluate/metrics/arrays.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/checked.h"
#include "common/limits.h"
#include "common/status_macros.h"

namespace lathe::engine {

std::string DimsText(const Shape& dims) {
  return absl::StrCat("[", absl::StrJoin(dims, ", "), "]");
}

Shape WithoutOnes(const Shape& dims) {
  Shape out;
  for (size_t i = 0; i < dims.size(); ++i) {
    if (i == 0 || dims[i] != 1) out.push_back(dims[i]);
  }
  return out;
}

absl::Status CheckArray(absl::string_view name, const Shape& dims, size_t values) {
  if (dims.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", name, "' is a scalar; expected a first axis that counts the examples"));
  }
  const std::optional<int64_t> size = CheckedProduct(dims);
  if (!size || static_cast<uint64_t>(*size) != values) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", name, "' has ", values, " values, which do not fill ", DimsText(dims)));
  }
  if (dims[0] > limits::kMaxBatchExamples) {
    return absl::InvalidArgumentError(absl::StrCat("'", name, "' ", DimsText(dims), " has ",
                                                   dims[0], " examples in a batch; at most ",
                                                   limits::kMaxBatchExamples));
  }
  return absl::OkStatus();
}

absl::Status CheckWeights(std::span<const float> weights, int64_t examples) {
  if (weights.empty()) return absl::OkStatus();
  if (static_cast<int64_t>(weights.size()) != examples) {
    return absl::InvalidArgumentError(absl::StrCat("'weights' has ", weights.size(), " values for ",
                                                   examples, " examples; expected one an example"));
  }
  for (size_t i = 0; i < weights.size(); ++i) {
    if (!(weights[i] >= 0) || !std::isfinite(weights[i])) {
      return absl::InvalidArgumentError(absl::StrCat(
          "'weights'[", i, "] of the batch is ", weights[i], "; expected a finite number >= 0"));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<NamedArray> FindOutput(const OutputBatch& batch, absl::string_view name) {
  std::vector<std::string> names;
  for (const NamedArray& output : batch.outputs) {
    if (name.empty() || output.name == name) {
      RETURN_IF_ERROR(CheckArray(output.name, output.array.dims, output.array.values.size()));
      return output;
    }
    names.push_back(absl::StrCat("'", output.name, "'"));
  }
  if (names.empty()) return absl::NotFoundError("the model gave no outputs to evaluate");
  return absl::NotFoundError(
      absl::StrCat("the model has no output '", name, "'; it has ", absl::StrJoin(names, ", ")));
}

}  // namespace lathe::engine
