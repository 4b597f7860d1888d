// Copies of elements between two strided views: transpositions, slices, broadcasts, interiors.
#ifndef LATHE_WORKER_ENGINE_KERNELS_STRIDED_MOVE_H_
#define LATHE_WORKER_ENGINE_KERNELS_STRIDED_MOVE_H_

#include <cstdint>
#include <vector>

namespace lathe::engine {

// A view of elements: where axis i's next element lies, in elements. Any sign; 0 repeats.
struct StridedMove {
  std::vector<int64_t> extents;       // of both views; none negative
  std::vector<int64_t> from_strides;  // one an axis
  std::vector<int64_t> to_strides;
};

// to[i...] = from[i...] for all i, elements being `width` bytes (1, 2, 4, 8 or 16). The views must
// not overlap, and all of their elements must lie in memory of the caller's. Fast where the last
// axes are contiguous on both sides, and where the two sides merely swap axes.
void MoveStrided(const StridedMove& move, int64_t width, const char* from, char* to);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_KERNELS_STRIDED_MOVE_H_
