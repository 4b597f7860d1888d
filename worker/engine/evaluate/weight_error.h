// How far the weights of a compressed model are from the original's, measured on what was written.
#ifndef LATHE_WORKER_ENGINE_EVALUATE_WEIGHT_ERROR_H_
#define LATHE_WORKER_ENGINE_EVALUATE_WEIGHT_ERROR_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/engine/evaluate/weight_histogram.h"
#include "worker/engine/graph/model.h"
#include "worker/engine/tensor/parallel.h"

namespace lathe::engine {

// One weight of the original model (Weight of graph/layers.h) and what has become of it.
struct LayerMeasure {
  std::string name;            // Weight::name
  std::string op;              // RoleName
  std::string blocked_reason;  // Weight::blocked_reason
  Shape dims;  // as the operator sees it, where it could be read; otherwise as stored
  int64_t parameters_before = 0;
  int64_t nonzero_before = 0;
  int64_t parameters_after = 0;  // of two factors: of both
  int64_t nonzero_after = 0;
  // norm(W - W') / norm(W), Frobenius, W' decoded from the compressed model; of factors, their
  // product. Absent when the weight was left alone by design (blocked) or could not be decoded.
  std::optional<double> relative_error;
  std::string not_measured;   // why not, for a weight that is not blocked
  WeightHistogram histogram;  // of a weight that has changed; empty otherwise
};

// Measures every weight of `original` in `compressed`, which came from it by methods: the same
// graphs in the same order, the outputs of weighted operators under their old names. One layer, or
// a part of one, is decoded at a time. Calls `next_layer` before each, and returns its error.
absl::StatusOr<std::vector<LayerMeasure>> MeasureWeights(
    Model& original, const Model& compressed, Parallel& parallel,
    const std::function<absl::Status()>& next_layer);

// Elements of constants that are parameters, but no weights: biases, normalizations and other
// constants of float types that are not part of a stored weight.
struct OtherParameters {
  int64_t parameters = 0;
  int64_t nonzero = 0;
};
OtherParameters CountOtherParameters(Model& model);

// Bytes of all constants of the model, as stored.
int64_t ConstantBytes(const Model& model);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_EVALUATE_WEIGHT_ERROR_H_
