// The window of a convolution or pool, with auto_pad resolved.
#ifndef LATHE_WORKER_ENGINE_OPS_FORWARD_WINDOW_READ_H_
#define LATHE_WORKER_ENGINE_OPS_FORWARD_WINDOW_READ_H_

#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "worker/engine/graph/model.h"
#include "worker/engine/kernels/backend.h"

namespace lathe::engine {

// The window for an input [N, C, in...] and an output [N, O, out...] of the shape rule, so that
// pads_end may reach further than the node says (ceil_mode) or less far. `kernel` has an entry an
// axis. INVALID_ARGUMENT, not naming the node, when an attribute has another length or is out of
// its range.
absl::StatusOr<WindowSpec> WindowOf(const Node& node, const Shape& in, const Shape& out,
                                    Shape kernel);

// The window of a ConvTranspose: pads are what the output loses at its borders (output_shape,
// output_padding and auto_pad resolved). pads_end may be negative: positions that nothing reaches.
absl::StatusOr<WindowSpec> TransposedWindowOf(const Node& node, const Shape& in, const Shape& out,
                                              Shape kernel);

// The same for the node of a context of a forward or backward run; errors name it.
template <typename Context>
absl::StatusOr<WindowSpec> ReadWindowSpec(const Context& ctx, const Shape& in, const Shape& out,
                                          Shape kernel, bool transposed = false) {
  absl::StatusOr<WindowSpec> window =
      transposed ? TransposedWindowOf(ctx.node(), in, out, std::move(kernel))
                 : WindowOf(ctx.node(), in, out, std::move(kernel));
  if (!window.ok()) return ctx.Error(std::string(window.status().message()));
  return window;
}

// The padding behind the input as a pool's node gives it, which windows that ceil_mode adds may
// reach past.
Shape PoolPadsEnd(const Node& node, const WindowSpec& window);

// Elements of the window at `at` that lie inside the input and its padding as the node gives it:
// what an average that counts the padding divides by.
int64_t PaddedCount(const WindowSpec& w, const Shape& pads_end, const Shape& at);

// Elements of the spatial axes.
int64_t Volume(const Shape& extents);

// Steps `index` through `dims`, the last axis fastest; false after the last.
bool NextIndex(const Shape& dims, Shape& index);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_OPS_FORWARD_WINDOW_READ_H_
