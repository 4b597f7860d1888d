#include "worker/engine/data/preprocess.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "common/checked.h"
#include "common/status_macros.h"

namespace lathe::engine {
namespace {

// Half-pixel centres: pixel i of the result lies at (i + 0.5) * in / out - 0.5 of the source,
// clamped to it. No smoothing beforehand: shrinking samples.
struct Tap {
  int64_t low = 0;
  int64_t high = 0;
  double weight = 0;  // of high
};

Tap TapAt(int64_t i, int64_t in, int64_t out) {
  const double place =
      (static_cast<double>(i) + 0.5) * static_cast<double>(in) / static_cast<double>(out) - 0.5;
  const double clamped = std::clamp(place, 0.0, static_cast<double>(in - 1));
  Tap tap;
  tap.low = static_cast<int64_t>(clamped);
  tap.high = std::min(tap.low + 1, in - 1);
  tap.weight = clamped - static_cast<double>(tap.low);
  return tap;
}

double At(const std::vector<double>& list, int64_t channel, double fallback) {
  if (list.empty()) return fallback;
  return list.size() == 1 ? list[0] : list[channel];
}

}  // namespace

ConvertError Transform::Apply(DType from, const char* in, DType to, char* out) const {
  const int64_t count =
      shape_.image ? shape_.channels * shape_.height * shape_.width : *CheckedProduct(shape_.out);
  std::vector<double> plain(static_cast<size_t>(count));
  if (ConvertError error = ToDoubles(from, in, count, plain.data()); !error.ok()) return error;
  const auto normal = [&](double x, int64_t c) {
    return (x * preprocess_.scale - At(preprocess_.mean, c, 0)) / At(preprocess_.std, c, 1);
  };
  if (!shape_.image) {
    for (int64_t i = 0; i < count; ++i) plain[i] = normal(plain[i], i % shape_.channels);
    return FromDoubles(plain.data(), count, to, out);
  }
  std::vector<double> result(
      static_cast<size_t>(shape_.channels * shape_.out_height * shape_.out_width));
  const auto pixel = [&](int64_t c, int64_t y, int64_t x) {
    return plain[shape_.data == ImageLayout::kNchw ? (c * shape_.height + y) * shape_.width + x
                                                   : (y * shape_.width + x) * shape_.channels + c];
  };
  for (int64_t y = 0; count > 0 && y < shape_.out_height; ++y) {
    const Tap v = TapAt(y, shape_.height, shape_.out_height);
    for (int64_t x = 0; x < shape_.out_width; ++x) {
      const Tap h = TapAt(x, shape_.width, shape_.out_width);
      for (int64_t c = 0; c < shape_.channels; ++c) {
        const double top = std::lerp(pixel(c, v.low, h.low), pixel(c, v.low, h.high), h.weight);
        const double low = std::lerp(pixel(c, v.high, h.low), pixel(c, v.high, h.high), h.weight);
        const int64_t to_index = shape_.wanted == ImageLayout::kNchw
                                     ? (c * shape_.out_height + y) * shape_.out_width + x
                                     : (y * shape_.out_width + x) * shape_.channels + c;
        result[to_index] = normal(std::lerp(top, low, v.weight), c);
      }
    }
  }
  return FromDoubles(result.data(), static_cast<int64_t>(result.size()), to, out);
}

}  // namespace lathe::engine
