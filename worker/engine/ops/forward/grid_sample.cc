// GridSample: the input's value at points of a grid, coordinates in [-1, 1] from edge to edge of an
// axis; of outermost elements (align_corners), or of outermost borders. AffineGrid: such a grid
// under an affine map.
//
// Each point's neighbours along each axis, with weights, are found once; their products, over all
// axes, are then summed for every channel.
#include "worker/engine/ops/forward/grid_sample.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/engine/ops/forward/elements.h"
#include "worker/engine/ops/forward/resample_axis.h"
#include "worker/engine/ops/forward/value_read.h"

namespace lathe::engine {
namespace {

constexpr int kMaxTaps = 4;
constexpr int64_t kMaxSpatialAxes = 5;
constexpr double kCubicA = -0.75;

enum class Padding { kZeros, kBorder, kReflection };
enum class Method { kNearest, kLinear, kCubic };

struct Sampler {
  Method method = Method::kLinear;
  Padding padding = Padding::kZeros;
  bool align_corners = false;
};

// Mirrors x at both ends of [low, high] until it lies within.
double Reflect(double x, double low, double high) {
  const double range = high - low;
  if (!(range > 0)) return low;
  const double distance = std::fmod(std::fabs(x - low), 2 * range);
  return low + (distance > range ? 2 * range - distance : distance);
}

// The elements around a point of one axis.
struct Neighbours {
  int count = 0;
  int64_t index[kMaxTaps];
  double weight[kMaxTaps];
};

// Adds element `i`, which may lie outside.
void AddNeighbour(const Sampler& sampler, double i, int64_t extent, double weight,
                  Neighbours& out) {
  const auto last = static_cast<double>(extent - 1);
  if (!(i >= 0 && i <= last)) {
    if (sampler.padding == Padding::kZeros || std::isnan(i)) return;
    if (sampler.padding == Padding::kReflection) {
      i = sampler.align_corners ? Reflect(i, 0, last) : Reflect(i, -0.5, last + 0.5);
    }
    i = std::clamp(i, 0.0, last);
  }
  out.index[out.count] = static_cast<int64_t>(i);
  out.weight[out.count] = weight;
  ++out.count;
}

Neighbours Around(const Sampler& sampler, double grid, int64_t extent) {
  const auto length = static_cast<double>(extent);
  double x = sampler.align_corners ? (grid + 1) / 2 * (length - 1) : ((grid + 1) * length - 1) / 2;
  Neighbours out;
  if (!std::isfinite(x)) {
    if (sampler.padding == Padding::kZeros || std::isnan(x)) return out;
    x = x < 0 ? -1 : length;
  }
  if (sampler.method == Method::kNearest) x = std::nearbyint(x);
  const double low = sampler.align_corners ? 0 : -0.5;
  const double high = length - 1 - low;
  if (x < low || x > high) {
    // Cubic weights are those of the place itself; each neighbour is moved in by itself.
    if (sampler.padding == Padding::kBorder && sampler.method != Method::kCubic) {
      x = std::clamp(x, 0.0, length - 1);
    }
    if (sampler.padding == Padding::kReflection) x = Reflect(x, low, high);
  }
  if (sampler.method == Method::kNearest) {
    AddNeighbour(sampler, x, extent, 1, out);
    return out;
  }
  const double base = std::floor(x);
  const bool cubic = sampler.method == Method::kCubic;
  for (int k = cubic ? -1 : 0; k <= (cubic ? 2 : 1); ++k) {
    const double distance = std::fabs(x - (base + k));
    AddNeighbour(sampler, base + k, extent,
                 cubic ? CubicWeight(distance, kCubicA) : LinearWeight(distance), out);
  }
  return out;
}

struct Tap {
  int64_t offset;
  double weight;
};

// All combinations of neighbours along the axes `dims`.
void Combine(const std::vector<Neighbours>& axes, const Shape& dims, std::vector<Tap>& taps) {
  taps.assign(1, {0, 1});
  for (size_t d = 0; d < axes.size(); ++d) {
    std::vector<Tap> next;
    for (const Tap& tap : taps) {
      for (int k = 0; k < axes[d].count; ++k) {
        next.push_back(
            {tap.offset * dims[d + 2] + axes[d].index[k], tap.weight * axes[d].weight[k]});
      }
    }
    taps = std::move(next);
  }
}

absl::StatusOr<Sampler> ReadSampler(const RunContext& ctx) {
  Sampler out;
  const std::string mode = ctx.node().StringAttribute("mode", "linear");
  if (mode == "nearest") {
    out.method = Method::kNearest;
  } else if (mode == "cubic" || mode == "bicubic") {
    out.method = Method::kCubic;
  } else if (mode != "linear" && mode != "bilinear") {
    return ctx.Error(absl::StrCat("mode must be linear, nearest or cubic, not '", mode, "'"));
  }
  const std::string padding = ctx.node().StringAttribute("padding_mode", "zeros");
  if (padding == "border") {
    out.padding = Padding::kBorder;
  } else if (padding == "reflection") {
    out.padding = Padding::kReflection;
  } else if (padding != "zeros") {
    return ctx.Error(
        absl::StrCat("padding_mode must be zeros, border or reflection, not '", padding, "'"));
  }
  out.align_corners = ctx.node().IntAttribute("align_corners", 0) != 0;
  return out;
}

template <typename T>
absl::Status Sample(RunContext& ctx, const Sampler& sampler, const Value& x, const Value& grid,
                    Value& out) {
  const auto spatial = static_cast<int64_t>(x.dims.size()) - 2;
  const int64_t channels = x.dims[1];
  const int64_t area = ExtentProduct(x.dims, 2, x.dims.size());
  const int64_t points = ExtentProduct(out.dims, 2, out.dims.size());
  std::vector<Neighbours> axes(static_cast<size_t>(spatial));
  std::vector<Tap> taps;
  const T* from = x.As<T>().data();
  T* to = out.Mutable<T>().data();
  for (int64_t n = 0; n < x.dims[0]; ++n) {
    for (int64_t p = 0; p < points; ++p) {
      for (int64_t d = 0; d < spatial; ++d) {
        // The grid's coordinates are of the last axis first.
        const double at = ReadNumber(grid, (n * points + p) * spatial + spatial - 1 - d);
        axes[d] = Around(sampler, at, x.dims[d + 2]);
      }
      Combine(axes, x.dims, taps);
      RETURN_IF_ERROR(ctx.Spend((channels + 1) * static_cast<int64_t>(taps.size() + 1)));
      for (int64_t c = 0; c < channels; ++c) {
        const T* plane = from + (n * channels + c) * area;
        double sum = 0;
        for (const Tap& tap : taps) sum += tap.weight * static_cast<double>(plane[tap.offset]);
        to[(n * channels + c) * points + p] = static_cast<T>(sum);
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status RunGridSample(RunContext& ctx) {
  ASSIGN_OR_RETURN(Value * out, ctx.Out(0));
  ASSIGN_OR_RETURN(const Sampler sampler, ReadSampler(ctx));
  const Value& x = ctx.In(0);
  const Value& grid = ctx.In(1);
  const auto spatial = static_cast<int64_t>(x.dims.size()) - 2;
  if (spatial > kMaxSpatialAxes) return ctx.Unsupported("more than five spatial axes");
  if (grid.dims.back() != spatial || grid.dims[0] != x.dims[0] || !IsFloat(grid.dtype)) {
    return ctx.Error(
        absl::StrCat("grid must be of floats, [batch, ..., ", spatial, "], of the input's batch"));
  }
  if (out->size() == 0) return absl::OkStatus();
  if (x.size() == 0) return ctx.Error("there is nothing to sample");
  if (out->dtype == DType::kFloat) return Sample<float>(ctx, sampler, x, grid, *out);
  if (out->dtype == DType::kDouble) return Sample<double>(ctx, sampler, x, grid, *out);
  return ctx.Unsupported("it takes floats");
}

// theta [N, k, k + 1], size [N, C, spatial...] of k axes -> grid [N, spatial..., k].
absl::Status RunAffineGrid(RunContext& ctx) {
  ASSIGN_OR_RETURN(Value * out, ctx.Out(0));
  ASSIGN_OR_RETURN(const std::vector<int64_t> size, ctx.Ints(1));
  const Value& theta = ctx.In(0);
  const auto k = static_cast<int64_t>(size.size()) - 2;
  if (k < 2 || k > 3 || theta.dims != Shape{size[0], k, k + 1}) {
    return ctx.Error("theta must be [N, 2, 3] for a size of 4 axes, [N, 3, 4] for one of 5");
  }
  if (!IsFloat(theta.dtype)) return ctx.Error("theta must be of floats");
  const bool align = ctx.node().IntAttribute("align_corners", 0) != 0;
  if (out->size() == 0) return absl::OkStatus();
  const int64_t points = ExtentProduct(size, 2, size.size());
  std::vector<double> base(static_cast<size_t>(k) + 1, 1);  // last axis first; 1 for the offset
  int64_t at = 0;
  for (int64_t n = 0; n < size[0]; ++n) {
    for (int64_t p = 0; p < points; ++p) {
      int64_t rest = p;
      for (int64_t d = 0; d < k; ++d) {
        const int64_t extent = size[size.size() - 1 - d];
        const auto i = static_cast<double>(rest % extent);
        rest /= extent;
        const auto length = static_cast<double>(extent);
        base[d] = align ? (extent == 1 ? 0 : 2 * i / (length - 1) - 1) : (2 * i + 1) / length - 1;
      }
      for (int64_t row = 0; row < k; ++row) {
        double sum = 0;
        for (int64_t j = 0; j <= k; ++j)
          sum += base[j] * ReadNumber(theta, (n * k + row) * (k + 1) + j);
        if (out->dtype == DType::kDouble) {
          out->Mutable<double>()[at++] = sum;
        } else {
          out->Mutable<float>()[at++] = static_cast<float>(sum);
        }
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace lathe::engine
