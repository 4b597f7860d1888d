// A box of a picture (internal to metrics).
#ifndef LATHE_WORKER_ENGINE_EVALUATE_METRICS_BOX_H_
#define LATHE_WORKER_ENGINE_EVALUATE_METRICS_BOX_H_

#include <algorithm>
#include <cmath>

namespace lathe::engine {

struct Box {
  double x1, y1, x2, y2;

  double Area() const { return std::max(0.0, x2 - x1) * std::max(0.0, y2 - y1); }
  bool IsFinite() const {
    return std::isfinite(x1) && std::isfinite(y1) && std::isfinite(x2) && std::isfinite(y2);
  }
};

// Area in common / area of both together; 0 where they only touch.
inline double Overlap(const Box& a, const Box& b) {
  const double width = std::min(a.x2, b.x2) - std::max(a.x1, b.x1);
  const double height = std::min(a.y2, b.y2) - std::max(a.y1, b.y1);
  if (width <= 0 || height <= 0) return 0;
  const double common = width * height;
  return common / (a.Area() + b.Area() - common);
}

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_EVALUATE_METRICS_BOX_H_
