// Which elements of a tensor share a scale and a zero point.
#ifndef LATHE_WORKER_ENGINE_OPS_FORWARD_GRANULARITY_H_
#define LATHE_WORKER_ENGINE_OPS_FORWARD_GRANULARITY_H_

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/engine/ops/forward/run_context.h"

namespace lathe::engine {

// A tensor taken as [outer, extent, inner]; the scales as [1] (per tensor), [extent] (per axis) or
// [outer, ceil(extent / block), inner] (blocked).
struct Granularity {
  enum class Kind { kTensor, kAxis, kBlocked };
  Kind kind = Kind::kTensor;
  int64_t outer = 1;
  int64_t extent = 1;
  int64_t inner = 1;
  int64_t block = 1;

  // Cuts the elements into runs, in order: run(begin, count, s) where all share scale s,
  // each(begin, count, s) where element begin + i has scale s + i.
  template <typename Run, typename Each>
  void ForEach(Run run, Each each) const;
};

// For input 0 with the scales of input 1 and the zero points of input 2, by the node's axis and
// block_size. INVALID_ARGUMENT when their shapes do not fit.
absl::StatusOr<Granularity> ReadGranularity(const RunContext& ctx);

// The elements of a numeric tensor as float32.
std::vector<float> ReadFloats(const Value& value);

template <typename Run, typename Each>
void Granularity::ForEach(Run run, Each each) const {
  if (kind == Kind::kTensor) {
    run(int64_t{0}, outer * extent * inner, int64_t{0});
    return;
  }
  // Without elements there may be any number of rows.
  if (extent == 0 || inner == 0) return;
  const bool blocked = kind == Kind::kBlocked;
  const int64_t blocks = (extent + block - 1) / block;
  for (int64_t o = 0; o < outer; ++o) {
    const int64_t row = o * extent;
    if (inner == 1 && !blocked) {
      each(row, extent, int64_t{0});
    } else if (inner == 1) {
      for (int64_t b = 0; b < blocks; ++b) {
        run(row + b * block, std::min(block, extent - b * block), o * blocks + b);
      }
    } else {
      for (int64_t a = 0; a < extent; ++a) {
        const int64_t begin = (row + a) * inner;
        if (blocked) {
          each(begin, inner, (o * blocks + a / block) * inner);
        } else {
          run(begin, inner, a);
        }
      }
    }
  }
}

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_OPS_FORWARD_GRANULARITY_H_
