// Elements written by index (scatter.cc), listed in the table of gather.cc; and the reading of
// indices that both share.
#ifndef LATHE_WORKER_ENGINE_OPS_FORWARD_SCATTER_H_
#define LATHE_WORKER_ENGINE_OPS_FORWARD_SCATTER_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/engine/ops/forward/run_context.h"

namespace lathe::engine {

absl::Status RunScatterElements(RunContext& ctx);  // also Scatter
absl::Status RunScatterND(RunContext& ctx);
absl::Status RunTensorScatter(RunContext& ctx);

// Indices along one axis of data of the same rank.
struct AxisIndices {
  Shape dims;                    // of the indices
  std::vector<int64_t> strides;  // of the data, in elements
  size_t axis = 0;
  std::vector<int64_t> indices;  // counted from the front

  // Calls fn(i, position) for every index: its number, and the element of the data it names.
  template <typename Fn>
  void ForEach(const Fn& fn) const {
    if (indices.empty()) return;
    std::vector<int64_t> at(dims.size(), 0);
    const int64_t along = dims.empty() ? 0 : strides[axis];
    int64_t base = 0;  // of the axes other than `axis`
    for (size_t i = 0; i < indices.size(); ++i) {
      fn(static_cast<int64_t>(i), base + indices[i] * along);
      for (size_t d = dims.size(); d-- > 0;) {
        const int64_t stride = d == axis ? 0 : strides[d];
        base += stride;
        if (++at[d] < dims[d]) break;
        base -= stride * dims[d];
        at[d] = 0;
      }
    }
  }
};

// Input 1 as indices along the node's `axis` of data with shape `data`. INVALID_ARGUMENT when the
// ranks differ, the indices are longer than the data along another axis, or one is out of range.
absl::StatusOr<AxisIndices> ReadAxisIndices(RunContext& ctx, const Shape& data);

// Input `i`, [..., depth], as tuples that index axes [first, first + depth) of `data`: for each the
// number of the block of the axes after. INVALID_ARGUMENT when one is out of range.
absl::StatusOr<std::vector<int64_t>> ReadTuples(RunContext& ctx, size_t i, const Shape& data,
                                                size_t first);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_OPS_FORWARD_SCATTER_H_
