// Pools over windows and over whole planes. The gradient of a maximum goes to its first largest
// element; that of a norm of zeros is zero.
//
// A blocked plane is [spatial..., block]: the same loops, `kLanes` planes at once.
#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "common/status_macros.h"
#include "worker/engine/ops/backward/backward.h"
#include "worker/engine/ops/backward/window_walk.h"
#include "worker/engine/ops/forward/window_read.h"

namespace lathe::engine {
namespace {

// Planes of `lanes` channels each.
int64_t PlaneCount(const Shape& dims, int64_t lanes) {
  return dims[0] * ((dims[1] + lanes - 1) / lanes);
}

int64_t PlaneSize(const Shape& dims) {
  int64_t size = 1;
  for (size_t i = 2; i < dims.size(); ++i) size *= dims[i];
  return size;
}

// Calls fn.operator()<kLanes>() for the layout's block.
template <typename Fn>
void WithLanes(Layout layout, Fn&& fn) {
  switch (layout) {
    case Layout::kPlain:
      return fn.template operator()<1>();
    case Layout::kBlocked8:
      return fn.template operator()<8>();
    case Layout::kBlocked16:
      return fn.template operator()<16>();
  }
}

template <int kLanes>
void MaxPlane(const WindowWalk& walk, const float* x, const float* g, float* gx) {
  walk.ForEach([&](const WindowPlace& place) {
    float largest[kLanes];
    int32_t first[kLanes];
    bool any = false;
    place.ForEach([&](int64_t offset) {
      const float* at = x + offset * kLanes;
      const auto index = static_cast<int32_t>(offset);
      if (!any) {
        std::copy_n(at, kLanes, largest);
        std::fill_n(first, kLanes, index);
        any = true;
        return;
      }
      for (int j = 0; j < kLanes; ++j) {
        const bool more = at[j] > largest[j];
        largest[j] = more ? at[j] : largest[j];
        first[j] = more ? index : first[j];
      }
    });
    if (any) {
      for (int j = 0; j < kLanes; ++j) gx[int64_t{first[j]} * kLanes + j] += g[j];
    }
    g += kLanes;
  });
}

absl::StatusOr<WindowSpec> ReadPool(const GradContext& ctx) {
  return ReadWindowSpec(ctx, ctx.Dims(0), ctx.Out(0).dims,
                        ctx.node().IntsAttribute("kernel_shape"));
}

absl::Status MaxPoolGrad(GradContext& ctx) {
  if (!ctx.Wants(0) || !ctx.HasGrad(0)) return absl::OkStatus();
  RETURN_IF_ERROR(ctx.Align());
  ASSIGN_OR_RETURN(const WindowSpec window, ReadPool(ctx));
  const int64_t plane = PlaneSize(ctx.Dims(0));
  if (plane > INT32_MAX) return ctx.Unsupported("planes of 2^31 elements or more");
  const Layout layout = ctx.GradValue(0).layout;
  ASSIGN_OR_RETURN(const std::span<float> out, ctx.EmitIn(0, layout));
  std::fill(out.begin(), out.end(), 0.0f);
  const float* x = Memory(ctx.In(0)).data();
  const float* g = ctx.GradMemory(0).data();
  float* gx = out.data();
  const WindowWalk walk(window);
  WithLanes(layout, [&]<int kLanes>() {
    for (int64_t p = 0; p < PlaneCount(ctx.Dims(0), kLanes); ++p) {
      MaxPlane<kLanes>(walk, x, g, gx);
      x += plane * kLanes;
      gx += plane * kLanes;
      g += Volume(window.out) * kLanes;
    }
  });
  return absl::OkStatus();
}

absl::Status AveragePoolGrad(GradContext& ctx) {
  if (!ctx.Wants(0)) return absl::OkStatus();
  ASSIGN_OR_RETURN(const WindowSpec window, ReadPool(ctx));
  const bool with_pads = ctx.node().IntAttribute("count_include_pad", 0) != 0;
  const Shape pads_end = PoolPadsEnd(ctx.node(), window);
  const Layout layout = ctx.GradValue(0).layout;
  ASSIGN_OR_RETURN(const std::span<float> out, ctx.EmitIn(0, layout));
  std::fill(out.begin(), out.end(), 0.0f);
  const float* g = ctx.GradMemory(0).data();
  float* gx = out.data();
  const WindowWalk walk(window);
  WithLanes(layout, [&]<int kLanes>() {
    for (int64_t p = 0; p < PlaneCount(ctx.Dims(0), kLanes); ++p) {
      walk.ForEach([&](const WindowPlace& place) {
        const int64_t count = with_pads ? PaddedCount(window, pads_end, place.at) : place.covered();
        float share[kLanes];
        for (int j = 0; j < kLanes; ++j) share[j] = g[j] / static_cast<float>(count);
        place.ForEach([&](int64_t offset) {
          for (int j = 0; j < kLanes; ++j) gx[offset * kLanes + j] += share[j];
        });
        g += kLanes;
      });
      gx += PlaneSize(ctx.Dims(0)) * kLanes;
    }
  });
  return absl::OkStatus();
}

// For y = (sum |x|^p)^(1/p): dy/dx = sign(x) |x|^(p - 1) y^(1 - p).
float NormSlope(double p, float x, float y) {
  if (y == 0) return 0;
  const double slope = p == 2 ? x / static_cast<double>(y)
                              : std::copysign(std::pow(std::abs(x) / static_cast<double>(y), p - 1),
                                              static_cast<double>(x));
  return x == 0 ? 0.0f : static_cast<float>(slope);
}

absl::Status LpPoolGrad(GradContext& ctx) {
  if (!ctx.Wants(0)) return absl::OkStatus();
  ASSIGN_OR_RETURN(const WindowSpec window, ReadPool(ctx));
  const auto power = static_cast<double>(ctx.node().IntAttribute("p", 2));
  ASSIGN_OR_RETURN(const std::span<float> out, ctx.EmitZeros(0));
  const float* x = ctx.X(0).data();
  const float* y = ctx.Y(0).data();
  const float* g = ctx.Grad(0).data();
  float* gx = out.data();
  const WindowWalk walk(window);
  const int64_t plane = PlaneSize(ctx.Dims(0));
  for (int64_t p = 0; p < PlaneCount(ctx.Dims(0), 1); ++p, x += plane, gx += plane) {
    walk.ForEach([&](const WindowPlace& place) {
      place.ForEach([&](int64_t at) { gx[at] += *g * NormSlope(power, x[at], *y); });
      ++g;
      ++y;
    });
  }
  return absl::OkStatus();
}

// Calls fn(gradient of the plane's result, that result, x's plane, G_x's plane, elements) for every
// plane, all of them plain. What fn does not read may be nullptr.
template <typename Fn>
absl::Status GlobalPoolGrad(GradContext& ctx, Fn&& fn) {
  if (!ctx.Wants(0)) return absl::OkStatus();
  const int64_t plane = PlaneSize(ctx.Dims(0));
  ASSIGN_OR_RETURN(const std::span<float> out, ctx.Emit(0));
  const float* x = ctx.In(0).data == nullptr ? nullptr : ctx.X(0).data();
  const float* y = ctx.Out(0).data == nullptr ? nullptr : ctx.Y(0).data();
  const std::span<const float> g = ctx.Grad(0);
  for (size_t p = 0; p < g.size(); ++p) {
    const int64_t at = static_cast<int64_t>(p) * plane;
    fn(g[p], y == nullptr ? 0.0f : y[p], x == nullptr ? nullptr : x + at, out.data() + at, plane);
  }
  return absl::OkStatus();
}

// In the layout in which x came, so that what comes before it stays blocked.
absl::Status GlobalAveragePoolGrad(GradContext& ctx) {
  if (!ctx.Wants(0)) return absl::OkStatus();
  RETURN_IF_ERROR(ctx.MakePlain());
  const Shape& dims = ctx.Dims(0);
  const Layout layout = ctx.In(0).layout;
  const int64_t plane = PlaneSize(dims);
  ASSIGN_OR_RETURN(const std::span<float> out, ctx.EmitIn(0, layout));
  const float* g = ctx.Grad(0).data();
  float* gx = out.data();
  WithLanes(layout, [&]<int kLanes>() {
    for (int64_t n = 0; n < dims[0]; ++n) {
      for (int64_t c = 0; c < dims[1]; c += kLanes) {
        float share[kLanes] = {};
        const int64_t live = std::min<int64_t>(kLanes, dims[1] - c);
        for (int64_t j = 0; j < live; ++j) share[j] = *g++ / static_cast<float>(plane);
        for (int64_t i = 0; i < plane; ++i, gx += kLanes) std::copy_n(share, kLanes, gx);
      }
    }
  });
  return absl::OkStatus();
}

absl::Status GlobalMaxPoolGrad(GradContext& ctx) {
  return GlobalPoolGrad(ctx, [](float g, float, const float* x, float* gx, int64_t count) {
    std::fill_n(gx, count, 0.0f);
    gx[std::max_element(x, x + count) - x] = g;
  });
}

absl::Status GlobalLpPoolGrad(GradContext& ctx) {
  const auto power = static_cast<double>(ctx.node().IntAttribute("p", 2));
  return GlobalPoolGrad(ctx, [power](float g, float y, const float* x, float* gx, int64_t count) {
    for (int64_t i = 0; i < count; ++i) gx[i] = g * NormSlope(power, x[i], y);
  });
}

constexpr OpBackward kTable[] = {
    {"", "AveragePool", AveragePoolGrad, kReadsNothing, kReadsNothing, kTakesBlockedValues},
    {"", "GlobalAveragePool", GlobalAveragePoolGrad, kReadsNothing, kReadsNothing,
     kTakesBlockedValues},
    {"", "GlobalLpPool", GlobalLpPoolGrad, 1, 1},
    {"", "GlobalMaxPool", GlobalMaxPoolGrad, 1},
    {"", "LpPool", LpPoolGrad, 1, 1},
    {"", "MaxPool", MaxPoolGrad, 1, kReadsNothing, kTakesBlockedValues},
};

}  // namespace

std::span<const OpBackward> PoolBackwards() { return kTable; }

}  // namespace lathe::engine
