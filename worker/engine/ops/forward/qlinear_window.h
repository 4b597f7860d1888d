// Windows that slide over one, two or three axes.
#ifndef LATHE_WORKER_ENGINE_OPS_FORWARD_QLINEAR_WINDOW_H_
#define LATHE_WORKER_ENGINE_OPS_FORWARD_QLINEAR_WINDOW_H_

#include <algorithm>
#include <array>
#include <cstdint>
#include <utility>

#include "absl/status/statusor.h"
#include "worker/engine/ops/forward/run_context.h"
#include "worker/engine/ops/value_fact.h"

namespace lathe::engine {

// Three axes; those that a node lacks come first and have one element.
struct Window3 {
  std::array<int64_t, 3> in = {1, 1, 1};
  std::array<int64_t, 3> out = {1, 1, 1};
  std::array<int64_t, 3> kernel = {1, 1, 1};
  std::array<int64_t, 3> stride = {1, 1, 1};
  std::array<int64_t, 3> dilation = {1, 1, 1};
  std::array<int64_t, 3> before = {0, 0, 0};  // padding
  std::array<int64_t, 3> after = {0, 0, 0};

  int64_t in_size() const { return SaturatingMul(in[0], SaturatingMul(in[1], in[2])); }
  int64_t out_size() const { return SaturatingMul(out[0], SaturatingMul(out[1], out[2])); }
  int64_t taps() const { return SaturatingMul(kernel[0], SaturatingMul(kernel[1], kernel[2])); }

  // Index in the input of tap `tap` at output index `o`, along an axis; outside it is padding.
  int64_t At(size_t axis, int64_t o, int64_t tap) const {
    return o * stride[axis] - before[axis] + tap * dilation[axis];
  }
  // The output indices [begin, end) along an axis whose tap `tap` lies inside the input.
  std::pair<int64_t, int64_t> Inside(size_t axis, int64_t tap) const {
    const int64_t offset = tap * dilation[axis] - before[axis];
    const int64_t step = stride[axis];
    const int64_t first = offset >= 0 ? 0 : (-offset + step - 1) / step;
    const int64_t past = in[axis] <= offset ? 0 : (in[axis] - offset - 1) / step + 1;
    const int64_t begin = std::min(first, out[axis]);
    return {begin, std::clamp(past, begin, out[axis])};
  }
  // The taps [begin, end) of output index `o` along an axis that lie inside the input.
  std::pair<int64_t, int64_t> TapsInside(size_t axis, int64_t o) const {
    const int64_t start = At(axis, o, 0);
    const int64_t step = dilation[axis];
    const int64_t begin = std::min(start >= 0 ? 0 : (-start + step - 1) / step, kernel[axis]);
    const int64_t past = in[axis] <= start ? 0 : (in[axis] - start - 1) / step + 1;
    return {begin, std::clamp(past, begin, kernel[axis])};
  }
};

// By the node's strides, dilations, pads and auto_pad, which the shape rule has checked; `in`,
// `kernel` and `out` are the spatial extents. UNIMPLEMENTED for more than three axes,
// INVALID_ARGUMENT for windows past kMaxExtent.
absl::StatusOr<Window3> ReadWindow3(const RunContext& ctx, const Shape& in, const Shape& kernel,
                                    const Shape& out);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_OPS_FORWARD_QLINEAR_WINDOW_H_
