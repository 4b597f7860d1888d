// Exact selection of the smallest weights of many tensors at once.
#ifndef LATHE_WORKER_ENGINE_METHODS_MAGNITUDE_SELECTION_H_
#define LATHE_WORKER_ENGINE_METHODS_MAGNITUDE_SELECTION_H_

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "worker/engine/tensor/parallel.h"
#include "worker/engine/tensor/tensor.h"

namespace lathe::engine {

// What zeroing did to one tensor.
struct ZeroedTensor {
  Bytes data;                 // same type and size as before
  int64_t zeros = 0;          // elements that are zero now, those that were so before included
  double squared_norm = 0;    // of the tensor before
  double squared_change = 0;  // of what was set to zero
};

// Sets the `count` elements of least magnitude over all `tensors` to zero; of equal magnitudes the
// earlier goes first (tensors in the order given, then by index). Elements that are zero already
// count. Tensors are float32, float64, float16 or bfloat16, in any mix, and hold finite values;
// 0 <= count <= their elements in all.
//
// Linear in the elements: a radix selection on the bits of the magnitudes, 11 bits a pass (three
// passes, six where a float64 is among them), plus one to write; beside one tensor's new bytes it
// takes 8 KiB for each 256 Ki elements. The answer does not depend on the number of threads.
//
// Calls `sink` with an index of `tensors` and what became of that one, in order. From then on that
// tensor is not looked at any more.
using ZeroedSink = std::function<void(size_t, ZeroedTensor)>;
void ZeroSmallest(std::span<const Tensor* const> tensors, int64_t count, Parallel& parallel,
                  const ZeroedSink& sink);

// Sets the elements with magnitude < epsilon to zero. Epsilon is first rounded to the tensor's own
// type, so that a weight written as 0.01 is not below a threshold written as 0.01.
ZeroedTensor ZeroBelow(const Tensor& tensor, double epsilon, Parallel& parallel);

// True when no element is NaN or infinite.
bool AllFinite(const Tensor& tensor, Parallel& parallel);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_METHODS_MAGNITUDE_SELECTION_H_
