// A weight rounded to integers with scales, laid out for storage.
#ifndef LATHE_WORKER_ENGINE_METHODS_QUANTIZED_TENSOR_H_
#define LATHE_WORKER_ENGINE_METHODS_QUANTIZED_TENSOR_H_

#include <cstdint>
#include <string>
#include <vector>

#include "worker/engine/graph/layers.h"
#include "worker/engine/kernels/quantize.h"
#include "worker/engine/methods/weight_rows.h"
#include "worker/engine/tensor/parallel.h"

namespace lathe::engine {

enum class Granularity { kTensor, kChannel, kGroup };

// How the source's elements fall into sets that share a scale, and how the integers are stored.
struct QuantizedLayout {
  Granularity granularity = Granularity::kChannel;  // what is really used
  int64_t group_size = 0;
  // Axes of the source that are kept apart (tensor, channel).
  std::vector<bool> kept_axes;
  // The source seen as [outer, length, inner], grouped along `length` (group).
  int64_t outer = 1;
  int64_t length = 1;
  int64_t inner = 1;
  int64_t groups = 1;  // of `length`, the last one padded
  // Of the stored integers, and of the scales, which broadcast against them.
  Shape stored_dims;
  Shape scale_dims;
  // The integers must be reshaped (and, when padded, sliced) to become the source again.
  bool reshaped = false;
  bool padded = false;
};

// Layout for a weight; where the wish makes no sense for it (groups of a vector), the next sensible
// one.
QuantizedLayout PlanLayout(const Weight& weight, Granularity wish, int64_t group_size);

struct QuantizedTensor {
  std::string integers;  // raw_data of stored_dims: one byte an element, or packed nibbles
  std::vector<float> scales;
  std::string zero_points;   // a byte a scale; empty when symmetric
  bool half_scales = false;  // every scale is a float16 value
  double squared_error = 0;
  double squared_norm = 0;
};

// The source's elements as rows of sets: a channel each (kTensor: one; kGroup: one for each run
// along `length`).
RowOrder RowsOf(const Shape& dims, const QuantizedLayout& layout);
// Rows that are worked on together, by one thread.
int64_t RowsAPiece(const RowOrder& order);

// Rounds `source`, of a float type and finite values, a few rows at a time: beside the result it
// takes little memory. `divisors` (kTensor and kChannel): empty, or a number for each element of a
// row by which it is divided before it is rounded; errors are those after multiplying again.
// `nibbles`: pack two values a byte (rule.bits <= 4). `half_scales`: round scales to float16 first
// where all of them fit it well. Same result for any number of threads.
QuantizedTensor QuantizeTensor(const Tensor& source, const QuantizedLayout& layout,
                               const RoundingRule& rule, const std::vector<float>& divisors,
                               bool nibbles, bool half_scales, Parallel& parallel);

// Rows as they were rounded elsewhere: `q` [rows, length] of RowsOf(dims, layout), and the sets of
// a row after one another (one for kTensor). Errors are not filled in.
QuantizedTensor StoreRows(const Shape& dims, const QuantizedLayout& layout,
                          const std::vector<int8_t>& q, const std::vector<SetScale>& scales,
                          bool symmetric, bool nibbles, bool half_scales);

// Bytes that StoreRows gives, scales and zero points included.
int64_t StoredBytes(const Shape& dims, const QuantizedLayout& layout, bool symmetric, bool nibbles,
                    bool half_scales);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_METHODS_QUANTIZED_TENSOR_H_
