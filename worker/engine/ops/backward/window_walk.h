// Walks the windows of a pool over a plane without index arithmetic for every element.
#ifndef LATHE_WORKER_ENGINE_OPS_BACKWARD_WINDOW_WALK_H_
#define LATHE_WORKER_ENGINE_OPS_BACKWARD_WINDOW_WALK_H_

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "worker/engine/kernels/backend.h"
#include "worker/engine/ops/forward/window_read.h"

namespace lathe::engine {

// A window at one output position: the elements of the input that it covers are rows[i] + start +
// k step, k < count, for each i, in the window's order.
struct WindowPlace {
  const Shape& at;  // the output position
  std::span<const int64_t> rows;
  int64_t start = 0;
  int64_t count = 0;
  int64_t step = 1;

  int64_t covered() const { return static_cast<int64_t>(rows.size()) * count; }
  template <typename Fn>
  void ForEach(Fn&& fn) const {
    for (const int64_t row : rows) {
      for (int64_t k = 0; k < count; ++k) fn(row + start + k * step);
    }
  }
};

class WindowWalk {
 public:
  explicit WindowWalk(const WindowSpec& window) : w_(window) {
    const size_t last = w_.in.size() - 1;
    for (int64_t at = 0; at < w_.out[last]; ++at) {
      const int64_t first = at * w_.strides[last] - w_.pads_begin[last];
      const int64_t step = w_.dilations[last];
      const int64_t low = first >= 0 ? 0 : (step - 1 - first) / step;
      const int64_t room = w_.in[last] - first;
      const int64_t high = room <= 0 ? 0 : std::min((room + step - 1) / step, w_.kernel[last]);
      spans_.push_back({first + low * step, std::max<int64_t>(high - low, 0)});
    }
  }

  // Calls fn(place) for every output position, in order.
  template <typename Fn>
  void ForEach(Fn&& fn) const {
    if (Volume(w_.out) == 0) return;
    const size_t last = w_.in.size() - 1;
    const Shape outer(w_.out.begin(), w_.out.end() - 1);
    const Shape taps(w_.kernel.begin(), w_.kernel.end() - 1);
    Shape at(w_.out.size(), 0);
    Shape high(last, 0);
    Shape k(last, 0);
    std::vector<int64_t> rows;
    do {
      rows.clear();
      std::fill(k.begin(), k.end(), 0);
      do {
        int64_t row = 0;
        bool inside = true;
        for (size_t i = 0; i < last; ++i) {
          const int64_t p = high[i] * w_.strides[i] - w_.pads_begin[i] + k[i] * w_.dilations[i];
          inside = inside && p >= 0 && p < w_.in[i];
          row = row * w_.in[i] + p;
        }
        if (inside) rows.push_back(row * w_.in[last]);
      } while (NextIndex(taps, k));
      std::copy(high.begin(), high.end(), at.begin());
      for (int64_t i = 0; i < w_.out[last]; ++i) {
        const Span& span = spans_[static_cast<size_t>(i)];
        at[last] = i;
        fn(WindowPlace{at, rows, span.start, span.count, w_.dilations[last]});
      }
    } while (NextIndex(outer, high));
  }

 private:
  struct Span {
    int64_t start;
    int64_t count;
  };
  WindowSpec w_;
  std::vector<Span> spans_;  // one a position of the last axis
};

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_OPS_BACKWARD_WINDOW_WALK_H_
