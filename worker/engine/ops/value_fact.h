// What is known of a value before anything runs: type, shape, and small values.
#ifndef LATHE_WORKER_ENGINE_OPS_VALUE_FACT_H_
#define LATHE_WORKER_ENGINE_OPS_VALUE_FACT_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "worker/engine/tensor/tensor.h"

namespace lathe::engine {

// Values of at most this many elements are evaluated on the way; shapes, axes and scales are short.
inline constexpr int64_t kMaxFoldedElements = 4096;
// Past these a shape is taken for hostile, and the value for unknown.
inline constexpr int64_t kMaxExtent = int64_t{1} << 40;
inline constexpr int64_t kMaxElements = int64_t{1} << 48;

struct ValueFact {
  DType dtype = DType::kUndefined;
  bool ranked = false;  // `dims` holds the shape; all extents are numbers
  Shape dims;
  // Computed from constants of the model alone: a runtime does it once, at load.
  bool constant = false;
  // Bytes it takes in the file when it is itself an initializer or a Constant; -1 otherwise.
  int64_t stored_bytes = -1;
  // Which constants of the model it is computed from, as the walker numbers them; 0: not known.
  int64_t constant_id = 0;
  // The float values come straight from a DequantizeLinear of 8-bit values.
  bool dequantized = false;
  // An 8-bit product's result that is quantized as it is made: memory never sees it.
  bool in_registers = false;
  // The elements themselves, row-major, when `known`: `reals` for float types, `ints` for others.
  bool known = false;
  std::vector<int64_t> ints;
  std::vector<double> reals;

  // Elements; 0 when not ranked.
  int64_t size() const;
  // Bytes of the elements; 0 when not known.
  int64_t bytes() const;
};

// Reads the elements too, when there are few.
ValueFact FactOf(const Tensor& tensor);

// A one-dimensional int64 value.
ValueFact IntsFact(std::vector<int64_t> values);

// Whether every extent, the rank and the number of elements are within bounds.
bool IsPlausible(const Shape& dims);

// Copies elements of a known value: out[i] = in[source[i]]. Sets `out.known`.
void CopyElements(const ValueFact& in, const std::vector<int64_t>& source, ValueFact& out);

// Marks `out` (dtype, dims set) as holding the same elements as `in`, in the same order.
void ShareElements(const ValueFact& in, ValueFact& out);

// Products and sums of sizes that saturate at the largest int64 instead of overflowing.
int64_t SaturatingMul(int64_t a, int64_t b);
int64_t SaturatingAdd(int64_t a, int64_t b);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_OPS_VALUE_FACT_H_
