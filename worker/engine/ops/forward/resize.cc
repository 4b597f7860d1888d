// Resize and Upsample: axis by axis, the last one first, each output element being a weighted sum
// of few input elements along its axis. GridSample and AffineGrid are in grid_sample.cc.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <type_traits>
#include <vector>

#include "common/status_macros.h"
#include "worker/engine/ops/forward/elements.h"
#include "worker/engine/ops/forward/forward.h"
#include "worker/engine/ops/forward/grid_sample.h"
#include "worker/engine/ops/forward/resample_axis.h"
#include "worker/engine/ops/forward/resize_plan.h"

namespace lathe::engine {
namespace {

// What nearest moves: rows of the last axis; a row that shows the same input as the one before it
// is copied from there.
template <typename T>
void MoveNearest(const ResizePlan& plan, const T* x, size_t axis, T* out) {
  const ResampleAxis& here = plan.axes[axis];
  const std::vector<int64_t>& indices = plan.taps[axis].indices;
  const bool identity = indices.empty();
  if (axis + 1 == plan.axes.size()) {
    if (identity) {
      std::copy_n(x, here.in, out);
    } else {
      for (int64_t i = 0; i < here.out; ++i) out[i] = x[indices[i]];
    }
    return;
  }
  int64_t in_block = 1;
  int64_t out_block = 1;
  for (size_t i = axis + 1; i < plan.axes.size(); ++i) {
    in_block *= plan.axes[i].in;
    out_block *= plan.axes[i].out;
  }
  int64_t shown = -1;
  for (int64_t i = 0; i < here.out; ++i) {
    const int64_t from = identity ? i : indices[i];
    T* to = out + i * out_block;
    if (from == shown) {
      std::copy_n(to - out_block, out_block, to);
    } else {
      MoveNearest(plan, x + from * in_block, axis + 1, to);
    }
    shown = from;
  }
}

// [rows, in, block] -> [rows, out, block].
template <typename T>
void ResampleAlong(const ResampleTaps& taps, int64_t rows, int64_t in, int64_t out, int64_t block,
                   const T* x, T* y) {
  const int64_t n = taps.taps;
  for (int64_t row = 0; row < rows; ++row, x += in * block, y += out * block) {
    const int64_t* index = taps.indices.data();
    const float* weight = taps.weights.data();
    if (block == 1 && n == 2) {
      for (int64_t i = 0; i < out; ++i, index += 2, weight += 2) {
        y[i] = weight[0] * x[index[0]] + weight[1] * x[index[1]];
      }
      continue;
    }
    for (int64_t i = 0; i < out; ++i, index += n, weight += n) {
      T* to = y + i * block;
      if (n == 2) {
        const T* a = x + index[0] * block;
        const T* b = x + index[1] * block;
        for (int64_t k = 0; k < block; ++k) to[k] = weight[0] * a[k] + weight[1] * b[k];
        continue;
      }
      std::fill_n(to, block, T{0});
      for (int64_t t = 0; t < n; ++t) {
        const T* from = x + index[t] * block;
        for (int64_t k = 0; k < block; ++k) to[k] += weight[t] * from[k];
      }
    }
  }
}

// Integers: truncated, as ONNX Runtime does, or rounded where it rounds; kept within the type.
template <typename T, typename F>
T FromReal(F value, bool rounds) {
  if constexpr (std::is_integral_v<T>) {
    using Limits = std::numeric_limits<T>;
    const double whole = rounds ? std::nearbyint(static_cast<double>(value))
                                : std::trunc(static_cast<double>(value));
    if (!(whole > static_cast<double>(Limits::min()))) return Limits::min();
    return whole >= static_cast<double>(Limits::max()) ? Limits::max() : static_cast<T>(whole);
  } else {
    return static_cast<T>(value);
  }
}

// Interpolates in F.
template <typename T, typename F>
absl::Status Interpolate(RunContext& ctx, const ResizePlan& plan, T* out) {
  const Value& in = ctx.In(0);
  const T* given = in.As<T>().data();
  std::shared_ptr<Buffer> held;
  const F* x = nullptr;
  if constexpr (std::is_same_v<T, F>) {
    x = given;
  } else {
    ASSIGN_OR_RETURN(held, ctx.Scratch(in.size() * static_cast<int64_t>(sizeof(F))));
    F* wide = reinterpret_cast<F*>(held->data());
    for (int64_t i = 0; i < in.size(); ++i) wide[i] = static_cast<F>(given[i]);
    x = wide;
  }
  Shape dims = in.dims;
  size_t remaining = 0;
  for (const ResampleTaps& taps : plan.taps) remaining += taps.indices.empty() ? 0 : 1;
  int64_t count = in.size();
  for (size_t axis = dims.size(); axis-- > 0;) {
    const ResampleTaps& taps = plan.taps[axis];
    if (taps.indices.empty()) continue;
    const ResampleAxis& here = plan.axes[axis];
    count = count / here.in * here.out;
    F* y = nullptr;
    std::shared_ptr<Buffer> next;
    if (--remaining == 0 && std::is_same_v<T, F>) {
      y = reinterpret_cast<F*>(out);
    } else {
      ASSIGN_OR_RETURN(next, ctx.Scratch(count * static_cast<int64_t>(sizeof(F))));
      y = reinterpret_cast<F*>(next->data());
    }
    ResampleAlong(taps, ExtentProduct(dims, 0, axis), here.in, here.out,
                  ExtentProduct(dims, axis + 1, dims.size()), x, y);
    dims[axis] = here.out;
    x = y;
    held = std::move(next);
  }
  if (reinterpret_cast<const void*>(x) == reinterpret_cast<const void*>(out)) {
    return absl::OkStatus();
  }
  for (int64_t i = 0; i < count; ++i) out[i] = FromReal<T>(x[i], plan.rule.antialias);
  return absl::OkStatus();
}

// Elements outside of the input, along any axis, become the extrapolation value.
template <typename T>
void Extrapolate(const ResizePlan& plan, const Shape& dims, T* out) {
  int64_t block = 1;
  int64_t count = 1;
  for (const int64_t extent : dims) count *= extent;
  for (size_t axis = dims.size(); axis-- > 0;) {
    const std::vector<bool>& outside = plan.taps[axis].outside;
    for (int64_t line = 0; line < count / block && !outside.empty(); ++line) {
      if (outside[line % dims[axis]]) {
        std::fill_n(out + line * block, block, FromReal<T>(plan.extrapolation, true));
      }
    }
    block *= dims[axis];
  }
}

template <typename T, typename F>
absl::Status ResizeAs(RunContext& ctx, const ResizePlan& plan, Value& out) {
  T* to = out.Mutable<T>().data();
  if (plan.rule.mode == "nearest") {
    if (plan.axes.empty()) {
      to[0] = ctx.Data<T>(0)[0];
    } else {
      MoveNearest(plan, ctx.Data<T>(0).data(), 0, to);
    }
  } else {
    RETURN_IF_ERROR((Interpolate<T, F>(ctx, plan, to)));
  }
  Extrapolate(plan, out.dims, to);
  return absl::OkStatus();
}

absl::Status RunResize(RunContext& ctx) {
  if (!ctx.In(0).IsTensor()) return ctx.Error("input 0 must be a tensor");
  ASSIGN_OR_RETURN(Value * out, ctx.Out(0));
  if (out->size() > 0 && ctx.In(0).size() == 0) return ctx.Error("there is nothing to resize");
  ASSIGN_OR_RETURN(const ResizePlan plan, ReadResizePlan(ctx, out->dims));
  if (out->size() == 0) return absl::OkStatus();
  switch (out->dtype) {
    case DType::kFloat:
      return ResizeAs<float, float>(ctx, plan, *out);
    case DType::kDouble:
      return ResizeAs<double, double>(ctx, plan, *out);
    case DType::kInt8:
      return ResizeAs<int8_t, float>(ctx, plan, *out);
    case DType::kUint8:
    case DType::kBool:
      return ResizeAs<uint8_t, float>(ctx, plan, *out);
    case DType::kInt16:
      return ResizeAs<int16_t, float>(ctx, plan, *out);
    case DType::kUint16:
      return ResizeAs<uint16_t, float>(ctx, plan, *out);
    case DType::kInt32:
      return ResizeAs<int32_t, double>(ctx, plan, *out);
    case DType::kUint32:
      return ResizeAs<uint32_t, double>(ctx, plan, *out);
    case DType::kInt64:
      return ResizeAs<int64_t, double>(ctx, plan, *out);
    case DType::kUint64:
      return ResizeAs<uint64_t, double>(ctx, plan, *out);
    default:
      return ctx.Unsupported("it takes numbers");
  }
}

constexpr unsigned kFloats = kComputesInFloat | kTakesDouble;
constexpr OpForward kForwards[] = {
    {"", "AffineGrid", RunAffineGrid, kFloats},
    {"", "GridSample", RunGridSample, kFloats},
    {"", "Resize", RunResize, kFloats},
    {"", "Upsample", RunResize, kFloats},
};

}  // namespace

std::span<const OpForward> ResizeForwards() { return kForwards; }

}  // namespace lathe::engine
