// Bits for each layer under a budget of bytes.
#ifndef LATHE_WORKER_ENGINE_METHODS_BIT_ALLOCATION_H_
#define LATHE_WORKER_ENGINE_METHODS_BIT_ALLOCATION_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace lathe::engine {

struct BitChoice {
  int bits = 8;
  int64_t bytes = 0;  // as stored: containers, padding, scales
  double error = 0;   // >= 0
};

// The index of each layer's choice: least sum of errors with at most `budget` bytes, by steps of
// most error saved a byte. Every layer's choices are not empty. Where even the smallest are over
// the budget, they are what is given. Choices that cost as much as a better one are never taken.
// Ties go to the earlier layer.
std::vector<std::size_t> AllocateBits(const std::vector<std::vector<BitChoice>>& layers,
                                      int64_t budget);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_METHODS_BIT_ALLOCATION_H_
