// Coordinates are computed in float32, as ONNX's reference and ONNX Runtime do: which element is
// nearest depends on it.
#include "worker/engine/ops/forward/resample_axis.h"

#include <algorithm>
#include <cmath>

namespace lathe::engine {
namespace {

// Position of output element `i` on the input.
float Coordinate(const ResampleAxis& axis, const std::string& mode, int64_t i) {
  const auto x = static_cast<float>(i);
  const auto in = static_cast<float>(axis.in);
  // Not rounded to whole elements, unlike axis.out.
  const float length = in * axis.scale;
  if (mode == "asymmetric") return x / axis.scale;
  if (mode == "align_corners") return length == 1 ? 0 : x * (in - 1) / (length - 1);
  if (mode == "tf_half_pixel_for_nn") return (x + 0.5F) / axis.scale;
  if (mode == "tf_crop_and_resize") {
    if (axis.out <= 1) return 0.5F * (axis.roi_start + axis.roi_end) * (in - 1);
    return axis.roi_start * (in - 1) +
           x * (axis.roi_end - axis.roi_start) * (in - 1) / static_cast<float>(axis.out - 1);
  }
  const float half_pixel = (x + 0.5F) / axis.scale - 0.5F;
  if (mode == "pytorch_half_pixel") return axis.out > 1 ? half_pixel : 0;
  if (mode == "half_pixel_symmetric") {
    const float adjustment = static_cast<float>(axis.out) / length;
    return in / 2 * (1 - adjustment) + half_pixel;
  }
  return half_pixel;
}

// Any float as an index that may lie outside by a little; NaN is 0.
int64_t ToIndex(double x, int64_t extent) {
  if (!(x >= -16)) return x < 0 ? -16 : 0;
  return x > static_cast<double>(extent) + 16 ? extent + 16 : static_cast<int64_t>(x);
}

double Nearest(const ResampleRule& rule, float x, bool shrinks) {
  const std::string& mode = rule.nearest;
  if (mode == "simple") return shrinks ? std::ceil(x) : std::trunc(x);
  if (mode == "floor") return std::floor(x);
  if (mode == "ceil") return std::ceil(x);
  if (mode == "round_prefer_ceil") return std::floor(static_cast<double>(x) + 0.5);
  return std::ceil(static_cast<double>(x) - 0.5);
}

}  // namespace

double LinearWeight(double x) { return x < 1 ? 1 - x : 0; }

double CubicWeight(double x, double a) {
  if (x <= 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a;
  return 0;
}

bool IsIdentity(const ResampleAxis& axis, const ResampleRule& rule) {
  return axis.in == axis.out && axis.scale == 1 && rule.coordinates != "tf_crop_and_resize";
}

ResampleTaps MakeTaps(const ResampleAxis& axis, const ResampleRule& rule) {
  ResampleTaps out;
  const bool nearest = rule.mode == "nearest";
  const bool cubic = rule.mode == "cubic";
  const bool crops = rule.coordinates == "tf_crop_and_resize";
  // Shrinking with antialias widens the kernel. The output has an element, so that 1 / scale is at
  // most about the input's extent.
  const double squeeze = rule.antialias ? std::min(1.0, static_cast<double>(axis.scale)) : 1.0;
  const int64_t reach =
      nearest ? 0 : static_cast<int64_t>(std::ceil((cubic ? 2.0 : 1.0) / squeeze));
  const int64_t first_tap = nearest ? 0 : 1 - reach;
  out.taps = nearest ? 1 : 2 * reach;
  out.indices.reserve(static_cast<size_t>(axis.out * out.taps));
  out.weights.reserve(static_cast<size_t>(axis.out * out.taps));
  for (int64_t i = 0; i < axis.out; ++i) {
    const float x = Coordinate(axis, rule.coordinates, i);
    if (crops) out.outside.push_back(!(x >= 0 && x <= static_cast<float>(axis.in - 1)));
    if (nearest) {
      const int64_t index = ToIndex(Nearest(rule, x, axis.scale < 1), axis.in);
      out.indices.push_back(std::clamp<int64_t>(index, 0, axis.in - 1));
      out.weights.push_back(1);
      continue;
    }
    const int64_t base = ToIndex(std::floor(x), axis.in);
    const double clamped = std::clamp<double>(x, -16, static_cast<double>(axis.in) + 16);
    const double ratio = std::isnan(x) ? 0 : clamped - static_cast<double>(base);
    std::vector<double> weights;
    double total = 0;
    for (int64_t k = 0; k < out.taps; ++k) {
      const int64_t index = base + first_tap + k;
      const double distance = std::fabs(static_cast<double>(first_tap + k) - ratio) * squeeze;
      double weight = cubic ? CubicWeight(distance, rule.cubic_a) : LinearWeight(distance);
      if (rule.exclude_outside && (index < 0 || index >= axis.in)) weight = 0;
      weights.push_back(weight);
      total += weight;
      out.indices.push_back(std::clamp<int64_t>(index, 0, axis.in - 1));
    }
    const bool normalize = (rule.exclude_outside || rule.antialias) && total != 0;
    for (const double weight : weights) {
      out.weights.push_back(static_cast<float>(normalize ? weight / total : weight));
    }
  }
  return out;
}

}  // namespace lathe::engine
