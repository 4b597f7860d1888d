// Pools over regions of interest, and Col2Im.
#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/engine/ops/forward/col2im.h"
#include "worker/engine/ops/forward/forward.h"

namespace lathe::engine {
namespace {

// Points of one bin of a region: a bound on regions that are not of this world.
constexpr double kMaxSamples = 1 << 22;

// A bilinear reading: four elements of a plane and their weights. All 0 outside of it.
struct Reading {
  int64_t at[4] = {};
  double weight[4] = {};
};

Reading ReadAt(double y, double x, int64_t height, int64_t width) {
  Reading out;
  if (!(y >= -1 && y <= static_cast<double>(height) && x >= -1 &&
        x <= static_cast<double>(width))) {
    return out;
  }
  y = std::clamp(y, 0.0, static_cast<double>(height - 1));
  x = std::clamp(x, 0.0, static_cast<double>(width - 1));
  const auto top = static_cast<int64_t>(y);
  const auto left = static_cast<int64_t>(x);
  const int64_t bottom = std::min(top + 1, height - 1);
  const int64_t right = std::min(left + 1, width - 1);
  const double down = y - static_cast<double>(top);
  const double across = x - static_cast<double>(left);
  const int64_t at[4] = {top * width + left, top * width + right, bottom * width + left,
                         bottom * width + right};
  const double weight[4] = {(1 - down) * (1 - across), (1 - down) * across, down * (1 - across),
                            down * across};
  std::copy_n(at, 4, out.at);
  std::copy_n(weight, 4, out.weight);
  return out;
}

template <typename T>
T Pooled(const std::vector<Reading>& readings, const T* plane, bool largest) {
  if (!largest) {
    double sum = 0;
    for (const Reading& r : readings) {
      for (int k = 0; k < 4; ++k) sum += r.weight[k] * static_cast<double>(plane[r.at[k]]);
    }
    return static_cast<T>(sum / static_cast<double>(std::max<size_t>(1, readings.size())));
  }
  // The largest of the weighted elements, not of their sums: as ONNX's reference and ONNX Runtime.
  double best = readings.empty() ? 0 : -std::numeric_limits<double>::infinity();
  for (const Reading& r : readings) {
    for (int k = 0; k < 4; ++k) {
      best = std::max(best, r.weight[k] * static_cast<double>(plane[r.at[k]]));
    }
  }
  return static_cast<T>(best);
}

// X [N, C, H, W], rois [R, 4] of x1, y1, x2, y2, batch_indices [R] -> [R, C, height, width].
template <typename T>
absl::Status RoiAlign(RunContext& ctx, const std::vector<int64_t>& batches, Value& out) {
  const Node& node = ctx.node();
  const Value& in = ctx.In(0);
  const std::string mode = node.StringAttribute("mode", "avg");
  const std::string coordinates = node.StringAttribute(
      "coordinate_transformation_mode", ctx.opset() < 16 ? "output_half_pixel" : "half_pixel");
  if (mode != "avg" && mode != "max") return ctx.Error("mode must be avg or max");
  if (coordinates != "half_pixel" && coordinates != "output_half_pixel") {
    return ctx.Error("coordinate_transformation_mode must be half_pixel or output_half_pixel");
  }
  const bool half = coordinates == "half_pixel";
  const double scale = node.FloatAttribute("spatial_scale", 1);
  const int64_t ratio = node.IntAttribute("sampling_ratio", 0);
  const int64_t channels = in.dims[1];
  const int64_t height = in.dims[2];
  const int64_t width = in.dims[3];
  const int64_t bins_y = out.dims[2];
  const int64_t bins_x = out.dims[3];
  const T* rois = ctx.Data<T>(1).data();
  T* to = out.Mutable<T>().data();
  std::vector<Reading> readings;
  for (int64_t r = 0; r < out.dims[0]; ++r) {
    const double shift = half ? 0.5 : 0;
    const double left = static_cast<double>(rois[r * 4]) * scale - shift;
    const double top = static_cast<double>(rois[r * 4 + 1]) * scale - shift;
    double wide = static_cast<double>(rois[r * 4 + 2]) * scale - shift - left;
    double high = static_cast<double>(rois[r * 4 + 3]) * scale - shift - top;
    if (!half) {
      wide = std::max(wide, 1.0);
      high = std::max(high, 1.0);
    }
    const double bin_x = wide / static_cast<double>(bins_x);
    const double bin_y = high / static_cast<double>(bins_y);
    const double samples_x =
        ratio > 0 ? static_cast<double>(ratio) : std::max(0.0, std::ceil(bin_x));
    const double samples_y =
        ratio > 0 ? static_cast<double>(ratio) : std::max(0.0, std::ceil(bin_y));
    if (!(samples_x * samples_y <= kMaxSamples && samples_x <= kMaxSamples &&
          samples_y <= kMaxSamples)) {
      return ctx.Error(absl::StrCat("region ", r, " is too large, or not a number"));
    }
    for (int64_t y = 0; y < bins_y; ++y) {
      for (int64_t x = 0; x < bins_x; ++x) {
        readings.clear();
        for (int64_t i = 0; i < static_cast<int64_t>(samples_y); ++i) {
          for (int64_t k = 0; k < static_cast<int64_t>(samples_x); ++k) {
            readings.push_back(ReadAt(
                top + bin_y * (static_cast<double>(y) + (static_cast<double>(i) + 0.5) / samples_y),
                left +
                    bin_x * (static_cast<double>(x) + (static_cast<double>(k) + 0.5) / samples_x),
                height, width));
          }
        }
        for (int64_t c = 0; c < channels; ++c) {
          RETURN_IF_ERROR(ctx.Spend(static_cast<int64_t>(readings.size()) + 1));
          const T* plane = in.As<T>().data() + (batches[r] * channels + c) * height * width;
          to[((r * channels + c) * bins_y + y) * bins_x + x] =
              Pooled<T>(readings, plane, mode == "max");
        }
      }
    }
  }
  return absl::OkStatus();
}

absl::Status RunRoiAlign(RunContext& ctx) {
  ASSIGN_OR_RETURN(Value * out, ctx.Out(0));
  const Value& in = ctx.In(0);
  if (ctx.In(1).dims[1] != 4 || ctx.In(1).dtype != in.dtype) {
    return ctx.Error("rois must be [regions, 4] of the input's type");
  }
  ASSIGN_OR_RETURN(const std::vector<int64_t> batches, ctx.Ints(2));
  if (static_cast<int64_t>(batches.size()) != out->dims[0]) {
    return ctx.Error("batch_indices must have one element for each region");
  }
  for (const int64_t batch : batches) {
    if (batch < 0 || batch >= in.dims[0]) {
      return ctx.Error(absl::StrCat("batch index ", batch, " lies outside of the batch"));
    }
  }
  if (out->size() == 0) return absl::OkStatus();
  if (in.size() == 0) return ctx.Error("there is nothing to pool");
  if (in.dtype == DType::kFloat) return RoiAlign<float>(ctx, batches, *out);
  if (in.dtype == DType::kDouble) return RoiAlign<double>(ctx, batches, *out);
  return ctx.Error("it takes floats");
}

// X [N, C, H, W], rois [R, 5] of batch, x1, y1, x2, y2 -> [R, C, height, width]. Bins that hold no
// element are 0.
template <typename T>
absl::Status MaxRoiPool(RunContext& ctx, Value& out) {
  const Value& in = ctx.In(0);
  const float scale = ctx.node().FloatAttribute("spatial_scale", 1);
  const int64_t channels = in.dims[1];
  const int64_t extents[2] = {in.dims[2], in.dims[3]};
  const int64_t bins[2] = {out.dims[2], out.dims[3]};
  const T* rois = ctx.Data<T>(1).data();
  T* to = out.Mutable<T>().data();
  for (int64_t r = 0; r < out.dims[0]; ++r) {
    const T* roi = rois + r * 5;
    if (!(roi[0] >= 0 && roi[0] < static_cast<T>(in.dims[0]))) {
      return ctx.Error(absl::StrCat("region ", r, " names no image of the batch"));
    }
    const auto batch = static_cast<int64_t>(roi[0]);
    double start[2];
    double bin[2];
    for (int d = 0; d < 2; ++d) {
      start[d] = std::round(static_cast<double>(static_cast<float>(roi[2 - d]) * scale));
      const double end = std::round(static_cast<double>(static_cast<float>(roi[4 - d]) * scale));
      bin[d] = std::max(end - start[d] + 1, 1.0) / static_cast<double>(bins[d]);
      if (!std::isfinite(bin[d] * static_cast<double>(bins[d]) + start[d])) {
        return ctx.Error(absl::StrCat("region ", r, " is not a number"));
      }
    }
    for (int64_t c = 0; c < channels; ++c) {
      const T* plane = in.As<T>().data() + (batch * channels + c) * extents[0] * extents[1];
      for (int64_t b = 0; b < bins[0] * bins[1]; ++b) {
        const int64_t at[2] = {b / bins[1], b % bins[1]};
        int64_t low[2];
        int64_t high[2];
        for (int d = 0; d < 2; ++d) {
          const auto most = static_cast<double>(extents[d]);
          const auto i = static_cast<double>(at[d]);
          low[d] = static_cast<int64_t>(std::clamp(std::floor(i * bin[d]) + start[d], 0.0, most));
          high[d] =
              static_cast<int64_t>(std::clamp(std::ceil((i + 1) * bin[d]) + start[d], 0.0, most));
        }
        const bool empty = low[0] >= high[0] || low[1] >= high[1];
        T best = empty ? T{0} : -std::numeric_limits<T>::infinity();
        if (!empty) RETURN_IF_ERROR(ctx.Spend((high[0] - low[0]) * (high[1] - low[1])));
        for (int64_t y = low[0]; y < high[0]; ++y) {
          for (int64_t x = low[1]; x < high[1]; ++x) {
            best = std::max(best, plane[y * extents[1] + x]);
          }
        }
        to[(r * channels + c) * bins[0] * bins[1] + b] = best;
      }
    }
  }
  return absl::OkStatus();
}

absl::Status RunMaxRoiPool(RunContext& ctx) {
  ASSIGN_OR_RETURN(Value * out, ctx.Out(0));
  if (ctx.In(1).dims[1] != 5 || ctx.In(1).dtype != ctx.In(0).dtype) {
    return ctx.Error("rois must be [regions, 5] of the input's type");
  }
  if (out->size() == 0) return absl::OkStatus();
  if (out->dtype == DType::kFloat) return MaxRoiPool<float>(ctx, *out);
  if (out->dtype == DType::kDouble) return MaxRoiPool<double>(ctx, *out);
  return ctx.Error("it takes floats");
}

constexpr unsigned kFloats = kComputesInFloat | kTakesDouble;
constexpr OpForward kForwards[] = {
    {"", "Col2Im", RunCol2Im, kFloats},
    {"", "MaxRoiPool", RunMaxRoiPool, kFloats},
    {"", "RoiAlign", RunRoiAlign, kFloats},
};

}  // namespace

std::span<const OpForward> RegionForwards() { return kForwards; }

}  // namespace lathe::engine
