#include "worker/engine/data/preprocess.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/checked.h"
#include "common/limits.h"
#include "common/recipe/catalogue.h"
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

absl::Status CheckCount(const char* name, const std::vector<double>& list, int64_t channels) {
  if (list.size() <= 1 || static_cast<int64_t>(list.size()) == channels) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("preprocess.", name, " holds ", list.size(),
                                                 " numbers, but the data has ", channels,
                                                 " channels; expected one, or one for each"));
}

double At(const std::vector<double>& list, int64_t channel, double fallback) {
  if (list.empty()) return fallback;
  return list.size() == 1 ? list[0] : list[channel];
}

}  // namespace

Preprocess Preprocess::FromRecipe(const Recipe& recipe) {
  const Step section = SectionOf(recipe, "preprocess");
  Preprocess out;
  out.scale = GetDouble(section, "scale");
  out.mean = GetNumbers(section, "mean");
  out.std = GetNumbers(section, "std");
  if (IsGiven(section, "layout")) {
    out.layout = GetString(section, "layout") == "NHWC" ? ImageLayout::kNhwc : ImageLayout::kNchw;
  }
  if (IsGiven(section, "resize")) {
    const std::vector<double> size = GetNumbers(section, "resize");
    out.resize = std::pair(static_cast<int64_t>(size[0]), static_cast<int64_t>(size[1]));
  }
  return out;
}

bool Preprocess::empty() const {
  return scale == 1 && mean.empty() && std.empty() && !needs_images();
}

absl::StatusOr<Transform> Transform::Make(const Preprocess& preprocess, const Shape& row,
                                          bool image, ImageLayout wanted) {
  Transform out;
  out.preprocess_ = preprocess;
  out.image_ = image;
  out.wanted_ = wanted;
  out.data_ = preprocess.layout.value_or(wanted);
  out.out_shape_ = row;
  if (image) {
    const bool nchw = out.data_ == ImageLayout::kNchw;
    out.channels_ = row[nchw ? 0 : 2];
    out.height_ = row[nchw ? 1 : 0];
    out.width_ = row[nchw ? 2 : 1];
    out.out_height_ = preprocess.resize ? preprocess.resize->first : out.height_;
    out.out_width_ = preprocess.resize ? preprocess.resize->second : out.width_;
    out.out_shape_ = wanted == ImageLayout::kNchw
                         ? Shape{out.channels_, out.out_height_, out.out_width_}
                         : Shape{out.out_height_, out.out_width_, out.channels_};
  } else {
    out.channels_ = row.empty() ? 1 : row.back();
  }
  RETURN_IF_ERROR(CheckCount("mean", preprocess.mean, out.channels_));
  RETURN_IF_ERROR(CheckCount("std", preprocess.std, out.channels_));
  const std::optional<int64_t> elements = CheckedProduct(out.out_shape_);
  if (!elements || *elements > limits::kMaxBatchBytes / 8) {
    return absl::InvalidArgumentError("preprocess.resize makes an example too large");
  }
  return out;
}

ConvertError Transform::Apply(DType from, const char* in, DType to, char* out) const {
  const int64_t count = image_ ? channels_ * height_ * width_ : *CheckedProduct(out_shape_);
  std::vector<double> plain(static_cast<size_t>(count));
  if (ConvertError error = ToDoubles(from, in, count, plain.data()); !error.ok()) return error;
  const auto normal = [&](double x, int64_t c) {
    return (x * preprocess_.scale - At(preprocess_.mean, c, 0)) / At(preprocess_.std, c, 1);
  };
  if (!image_) {
    for (int64_t i = 0; i < count; ++i) plain[i] = normal(plain[i], i % channels_);
    return FromDoubles(plain.data(), count, to, out);
  }
  std::vector<double> result(static_cast<size_t>(channels_ * out_height_ * out_width_));
  const auto pixel = [&](int64_t c, int64_t y, int64_t x) {
    return plain[data_ == ImageLayout::kNchw ? (c * height_ + y) * width_ + x
                                             : (y * width_ + x) * channels_ + c];
  };
  for (int64_t y = 0; count > 0 && y < out_height_; ++y) {
    const Tap v = TapAt(y, height_, out_height_);
    for (int64_t x = 0; x < out_width_; ++x) {
      const Tap h = TapAt(x, width_, out_width_);
      for (int64_t c = 0; c < channels_; ++c) {
        const double top = std::lerp(pixel(c, v.low, h.low), pixel(c, v.low, h.high), h.weight);
        const double low = std::lerp(pixel(c, v.high, h.low), pixel(c, v.high, h.high), h.weight);
        const int64_t to_index = wanted_ == ImageLayout::kNchw
                                     ? (c * out_height_ + y) * out_width_ + x
                                     : (y * out_width_ + x) * channels_ + c;
        result[to_index] = normal(std::lerp(top, low, v.weight), c);
      }
    }
  }
  return FromDoubles(result.data(), static_cast<int64_t>(result.size()), to, out);
}

}  // namespace lathe::engine
