// Reductions of strided views: which elements fall together, apart from what is done with them.
#ifndef LATHE_WORKER_ENGINE_KERNELS_REDUCE_H_
#define LATHE_WORKER_ENGINE_KERNELS_REDUCE_H_

#include <algorithm>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace lathe::engine {

// A row-major tensor's axes, neighbours of one kind joined and axes of one element left out.
struct ReduceAxes {
  struct Axis {
    int64_t extent;
    int64_t stride;  // elements
  };
  std::vector<Axis> kept;
  std::vector<Axis> reduced;
  bool last_is_kept = false;  // the axis of stride 1 is the last one of `kept`, not of `reduced`
  int64_t outputs = 1;        // product of kept extents
  int64_t inputs = 1;         // elements that make one output
};
ReduceAxes SplitAxes(std::span<const int64_t> dims, const std::vector<bool>& is_reduced);

// Offsets of all positions of some axes, in order.
class Positions {
 public:
  explicit Positions(std::span<const ReduceAxes::Axis> axes) : axes_(axes), at_(axes.size(), 0) {}
  int64_t offset() const { return offset_; }
  // Back at the first position after the last.
  void Next() {
    for (size_t i = axes_.size(); i-- > 0;) {
      offset_ += axes_[i].stride;
      if (++at_[i] < axes_[i].extent) return;
      offset_ -= axes_[i].stride * axes_[i].extent;
      at_[i] = 0;
    }
  }

 private:
  std::span<const ReduceAxes::Axis> axes_;
  std::vector<int64_t> at_;
  int64_t offset_ = 0;
};

// Reduces x to one T an output. Op has: an accumulator type Acc; Acc Start(); void Row(Acc& acc,
// const T* x, int64_t count, int64_t output), which takes `count` neighbours into one output; void
// Column(Acc* acc, const T* x, int64_t count, int64_t output), which takes one element into each of
// `count` outputs from `output` on; Out Finish(Acc acc, int64_t inputs). The order of the elements
// depends on the shape alone.
template <typename T, typename Out, typename Op>
void Reduce(const ReduceAxes& axes, const T* x, Out* out, const Op& op) {
  using Acc = typename Op::Acc;
  if (axes.outputs == 0) return;
  if (axes.inputs == 0) {
    std::fill_n(out, axes.outputs, op.Finish(op.Start(), 0));
    return;
  }
  std::span<const ReduceAxes::Axis> kept = axes.kept;
  std::span<const ReduceAxes::Axis> reduced = axes.reduced;
  if (!axes.last_is_kept) {
    const int64_t run = reduced.empty() ? 1 : reduced.back().extent;
    if (!reduced.empty()) reduced = reduced.first(reduced.size() - 1);
    const int64_t runs = axes.inputs / run;
    Positions from(kept);
    for (int64_t i = 0; i < axes.outputs; ++i, from.Next()) {
      Acc acc = op.Start();
      Positions inner(reduced);
      for (int64_t r = 0; r < runs; ++r, inner.Next()) {
        op.Row(acc, x + from.offset() + inner.offset(), run, i);
      }
      out[i] = op.Finish(acc, axes.inputs);
    }
    return;
  }
  constexpr int64_t kWide = 512;  // accumulators that stay in the first-level cache
  Acc acc[kWide];
  const int64_t width = kept.back().extent;
  kept = kept.first(kept.size() - 1);
  Positions from(kept);
  for (int64_t row = 0; row < axes.outputs / width; ++row, from.Next()) {
    for (int64_t begin = 0; begin < width; begin += kWide) {
      const int64_t count = std::min(kWide, width - begin);
      const int64_t output = row * width + begin;
      std::fill_n(acc, count, op.Start());
      Positions inner(reduced);
      for (int64_t r = 0; r < axes.inputs; ++r, inner.Next()) {
        op.Column(acc, x + from.offset() + begin + inner.offset(), count, output);
      }
      for (int64_t i = 0; i < count; ++i) out[output + i] = op.Finish(acc[i], axes.inputs);
    }
  }
}

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_KERNELS_REDUCE_H_
