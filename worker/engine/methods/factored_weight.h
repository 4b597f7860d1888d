// A weight given as the product of two factors, and how operators that used it use them.
#ifndef LATHE_WORKER_ENGINE_METHODS_FACTORED_WEIGHT_H_
#define LATHE_WORKER_ENGINE_METHODS_FACTORED_WEIGHT_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/engine/graph/edit.h"
#include "worker/engine/graph/layers.h"
#include "worker/engine/graph/model.h"

namespace lathe::engine {

// A weight as a matrix S [m, n], row-major in the source: its two axes that count, in the source's
// order.
struct WeightMatrix {
  int64_t m = 0;
  int64_t n = 0;
  // For each use of the weight: the operator's matrix is S transposed.
  std::vector<bool> transposed;
};

// Why `weight` cannot be replaced by two factors, for the sake of one of its operators; "" when it
// can, and `view` is filled in.
std::string ViewAsMatrix(const Weight& weight, WeightMatrix& view);

// The types in which the operators read the weight, one a use: what Casts on the way make of it.
std::vector<DType> TypesSeen(const Model& model, const Weight& weight);

// Replaces the weight by S = left [m, r] right [r, n], both of the source's type, given as bytes.
// Every use is rewritten; the source is removed when nothing reads it any more, chains that led
// from it are left to RemoveUnusedConstants.
//
//   before:  x -> MatMul(S) -> y          x -> Conv(S [O, I, 1, 1], bias) -> y
//   after:   x -> MatMul(left) ->         x -> Conv(right [r, I, 1, 1]; strides, pads) ->
//                 MatMul(right) -> y           Conv(left [O, r, 1, 1], bias) -> y
//
// The operator's node stays as the second of the two and keeps its bias, alpha and beta. A use that
// sees S transposed gets right^T and left^T. Factors are stored once, in the form the first use
// needs; others get it by a Transpose or Cast of the constant, which runtimes fold.
void ReplaceByFactors(Model& model, NameScope& names, const Weight& weight,
                      const WeightMatrix& view, const std::vector<DType>& types, int64_t rank,
                      std::vector<float> left, std::vector<float> right);

// The values after rounding to `dtype`; INVALID_ARGUMENT when one overflows it.
absl::StatusOr<std::vector<float>> RoundedTo(DType dtype, std::vector<float> values);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_METHODS_FACTORED_WEIGHT_H_
