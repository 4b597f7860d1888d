// Pools over windows and over whole planes. Float pools that the backend's kernel serves go there;
// the rest (indices, other types, norms, windows that reach past the padding) are plain loops.
#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/engine/kernels/backend.h"
#include "worker/engine/ops/forward/forward.h"
#include "worker/engine/ops/forward/run_node.h"
#include "worker/engine/ops/forward/window_read.h"

namespace lathe::engine {
namespace {

struct PoolState : NodeState {
  std::unique_ptr<PoolKernel> kernel;
};

struct Windows {
  WindowSpec spec;
  int64_t planes = 0;  // batch times channels
};

absl::StatusOr<Windows> ReadWindows(RunContext& ctx, const Shape& out) {
  Windows w;
  const Shape& in = ctx.In(0).dims;
  ASSIGN_OR_RETURN(w.spec, ReadWindowSpec(ctx, in, out, ctx.node().IntsAttribute("kernel_shape")));
  w.planes = in[0] * in[1];
  return w;
}

// Calls fn(offset) for every element of the window at `at` that lies inside the input, in order.
template <typename Fn>
void ForWindow(const WindowSpec& w, const Shape& at, Shape& k, Fn&& fn) {
  std::fill(k.begin(), k.end(), 0);
  do {
    int64_t offset = 0;
    bool inside = true;
    for (size_t i = 0; i < k.size(); ++i) {
      const int64_t p = at[i] * w.strides[i] - w.pads_begin[i] + k[i] * w.dilations[i];
      inside = inside && p >= 0 && p < w.in[i];
      offset = offset * w.in[i] + p;
    }
    if (inside) fn(offset);
  } while (NextIndex(w.kernel, k));
}

// Tries the backend's kernel; UNIMPLEMENTED when it cannot.
absl::Status RunKernel(RunContext& ctx, const Windows& w, PoolSpec::Kind kind, const Shape& out) {
  const Value& x = ctx.In(0);
  auto& state = ctx.State<PoolState>();
  if (state.kernel == nullptr) state.kernel = ctx.backend().MakePool();
  PoolSpec spec;
  spec.kind = kind;
  spec.window = w.spec;
  spec.batch = x.dims[0];
  spec.channels = x.dims[1];
  spec.layout = x.layout;
  RETURN_IF_ERROR(state.kernel->Prepare(spec));
  ASSIGN_OR_RETURN(Value * y, ctx.Out(0, DType::kFloat, out, x.layout));
  return state.kernel->Run(reinterpret_cast<const float*>(x.data),
                           reinterpret_cast<float*>(y->buffer->data()));
}

bool FitsKernel(const Value& x, const Shape& out, const WindowSpec& w) {
  if (x.dtype != DType::kFloat || x.size() == 0 || Volume(out) == 0 || x.dims.size() > 5) {
    return false;
  }
  // Every window must touch the input: a window of padding alone has no largest element.
  for (size_t i = 0; i < w.kernel.size(); ++i) {
    const int64_t reach = (w.kernel[i] - 1) * w.dilations[i] + 1;
    if (w.pads_begin[i] < 0 || w.pads_begin[i] >= reach || w.pads_end[i] >= reach) return false;
  }
  return true;
}

template <typename T>
void MaxLoops(const Windows& w, bool column_major, const Value& x, T* y, int64_t* indices) {
  const int64_t in_plane = Volume(w.spec.in);
  const T* from = x.As<T>().data();
  Shape k(w.spec.kernel.size(), 0);
  for (int64_t p = 0; p < w.planes; ++p, from += in_plane) {
    Shape at(w.spec.out.size(), 0);
    if (Volume(w.spec.out) == 0) continue;
    do {
      T largest = std::numeric_limits<T>::lowest();
      int64_t best = -1;
      ForWindow(w.spec, at, k, [&](int64_t offset) {
        if (best >= 0 && !(from[offset] > largest)) return;
        largest = from[offset];
        best = offset;
      });
      *y++ = largest;
      if (indices == nullptr) continue;
      int64_t index = std::max<int64_t>(best, 0);
      if (column_major) {
        // The same position with the first spatial axis fastest.
        int64_t rest = index;
        int64_t scale = in_plane;
        index = 0;
        for (size_t i = w.spec.in.size(); i-- > 0;) {
          scale /= w.spec.in[i];
          index += rest % w.spec.in[i] * scale;
          rest /= w.spec.in[i];
        }
      }
      *indices++ = p * in_plane + index;
    } while (NextIndex(w.spec.out, at));
  }
}

absl::StatusOr<Shape> PooledDims(RunContext& ctx) {
  if (!ctx.In(0).IsTensor()) return ctx.Error("its input must be a tensor");
  ASSIGN_OR_RETURN(const ValueFact* fact, ctx.Inferred(0));
  return fact->dims;
}

absl::Status MaxPool(RunContext& ctx) {
  ASSIGN_OR_RETURN(const Shape out, PooledDims(ctx));
  ASSIGN_OR_RETURN(const Windows w, ReadWindows(ctx, out));
  if (!ctx.Wants(1) && FitsKernel(ctx.In(0), out, w.spec)) {
    const absl::Status status = RunKernel(ctx, w, PoolSpec::Kind::kMax, out);
    if (!absl::IsUnimplemented(status)) return status;
  }
  ASSIGN_OR_RETURN(const Value x, ToPlain(ctx.In(0), ctx.memory()));
  ASSIGN_OR_RETURN(Value * y, ctx.Out(0, x.dtype, out));
  int64_t* indices = nullptr;
  if (ctx.Wants(1)) {
    ASSIGN_OR_RETURN(Value * at, ctx.Out(1, DType::kInt64, out));
    indices = at->Mutable<int64_t>().data();
  }
  const bool column_major = ctx.node().IntAttribute("storage_order", 0) != 0;
  switch (x.dtype) {
    case DType::kFloat:
      MaxLoops<float>(w, column_major, x, y->Mutable<float>().data(), indices);
      break;
    case DType::kDouble:
      MaxLoops<double>(w, column_major, x, y->Mutable<double>().data(), indices);
      break;
    case DType::kInt8:
      MaxLoops<int8_t>(w, column_major, x, y->Mutable<int8_t>().data(), indices);
      break;
    case DType::kUint8:
      MaxLoops<uint8_t>(w, column_major, x, y->Mutable<uint8_t>().data(), indices);
      break;
    default:
      return ctx.Unsupported(absl::StrCat("pools of ", DTypeName(x.dtype)));
  }
  return absl::OkStatus();
}

absl::Status AveragePool(RunContext& ctx) {
  ASSIGN_OR_RETURN(const Shape out, PooledDims(ctx));
  if (ctx.In(0).dtype != DType::kFloat) return ctx.Error("its input must be of floats");
  ASSIGN_OR_RETURN(const Windows w, ReadWindows(ctx, out));
  const bool with_pads = ctx.node().IntAttribute("count_include_pad", 0) != 0;
  const size_t axes = w.spec.kernel.size();
  const Shape pads_end = PoolPadsEnd(ctx.node(), w.spec);
  bool past = false;
  for (size_t i = 0; i < axes; ++i) past = past || w.spec.pads_end[i] > pads_end[i];
  if (FitsKernel(ctx.In(0), out, w.spec) && !(with_pads && past)) {
    const absl::Status status = RunKernel(
        ctx, w, with_pads ? PoolSpec::Kind::kAverageWithPads : PoolSpec::Kind::kAverage, out);
    if (!absl::IsUnimplemented(status)) return status;
  }
  ASSIGN_OR_RETURN(const Value x, ToPlain(ctx.In(0), ctx.memory()));
  ASSIGN_OR_RETURN(Value * value, ctx.Out(0, DType::kFloat, out));
  float* y = value->Mutable<float>().data();
  const float* from = x.As<float>().data();
  const int64_t plane = Volume(w.spec.in);
  Shape k(axes, 0);
  if (value->size() == 0) return absl::OkStatus();
  for (int64_t p = 0; p < w.planes; ++p, from += plane) {
    Shape at(axes, 0);
    do {
      double sum = 0;
      int64_t count = 0;
      ForWindow(w.spec, at, k, [&](int64_t offset) {
        sum += from[offset];
        ++count;
      });
      if (with_pads) count = PaddedCount(w.spec, pads_end, at);
      *y++ = count == 0 ? 0.0f : static_cast<float>(sum / static_cast<double>(count));
    } while (NextIndex(w.spec.out, at));
  }
  return absl::OkStatus();
}

absl::Status LpPool(RunContext& ctx) {
  ASSIGN_OR_RETURN(const Shape out, PooledDims(ctx));
  const Value& x = ctx.In(0);
  if (x.dtype != DType::kFloat) return ctx.Error("its input must be of floats");
  ASSIGN_OR_RETURN(const Windows w, ReadWindows(ctx, out));
  const auto p = static_cast<double>(ctx.node().IntAttribute("p", 2));
  if (p < 1) return ctx.Error("'p' must be positive");
  ASSIGN_OR_RETURN(Value * value, ctx.Out(0, DType::kFloat, out));
  float* y = value->Mutable<float>().data();
  const float* from = x.As<float>().data();
  if (value->size() == 0) return absl::OkStatus();
  Shape k(w.spec.kernel.size(), 0);
  for (int64_t plane = 0; plane < w.planes; ++plane, from += Volume(w.spec.in)) {
    Shape at(w.spec.out.size(), 0);
    do {
      double sum = 0;
      ForWindow(w.spec, at, k, [&](int64_t offset) {
        sum += std::pow(std::abs(static_cast<double>(from[offset])), p);
      });
      *y++ = static_cast<float>(std::pow(sum, 1 / p));
    } while (NextIndex(w.spec.out, at));
  }
  return absl::OkStatus();
}

// Reduces each plane of `count` elements by fn(pointer, stride).
template <typename Fn>
absl::Status GlobalPool(RunContext& ctx, Fn&& fn) {
  const Value& x = ctx.In(0);
  if (!x.IsTensor() || x.dtype != DType::kFloat) return ctx.Error("its input must be of floats");
  ASSIGN_OR_RETURN(Value * value, ctx.Out(0));
  float* y = value->Mutable<float>().data();
  const int64_t planes = x.dims[0] * x.dims[1];
  int64_t plane = 1;
  for (size_t i = 2; i < x.dims.size(); ++i) plane *= x.dims[i];
  if (planes == 0) return absl::OkStatus();
  const auto* from = reinterpret_cast<const float*>(x.data);
  const int64_t block = LayoutBlock(x.layout);
  const int64_t blocks = (x.dims[1] + block - 1) / block;
  for (int64_t p = 0; p < planes; ++p) {
    const int64_t c = p % x.dims[1];
    const float* start = from + ((p / x.dims[1] * blocks + c / block) * plane) * block + c % block;
    y[p] = fn(start, block, plane);
  }
  return absl::OkStatus();
}

absl::Status GlobalAveragePool(RunContext& ctx) {
  return GlobalPool(ctx, [](const float* x, int64_t stride, int64_t count) {
    // Several sums, so that one addition need not wait for the last.
    double sums[4] = {};
    int64_t i = 0;
    for (; i + 4 <= count; i += 4) {
      for (int64_t j = 0; j < 4; ++j) sums[j] += x[(i + j) * stride];
    }
    for (; i < count; ++i) sums[0] += x[i * stride];
    const double sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
    return static_cast<float>(sum / static_cast<double>(count));
  });
}

absl::Status GlobalMaxPool(RunContext& ctx) {
  return GlobalPool(ctx, [](const float* x, int64_t stride, int64_t count) {
    float largest = std::numeric_limits<float>::lowest();
    for (int64_t i = 0; i < count; ++i) {
      if (x[i * stride] > largest || std::isnan(x[i * stride])) largest = x[i * stride];
    }
    return largest;
  });
}

absl::Status GlobalLpPool(RunContext& ctx) {
  const auto p = static_cast<double>(ctx.node().IntAttribute("p", 2));
  if (p < 1) return ctx.Error("'p' must be positive");
  return GlobalPool(ctx, [p](const float* x, int64_t stride, int64_t count) {
    double sum = 0;
    for (int64_t i = 0; i < count; ++i) {
      sum += std::pow(std::abs(static_cast<double>(x[i * stride])), p);
    }
    return static_cast<float>(std::pow(sum, 1 / p));
  });
}

// Puts each element where its index says; the indices are of the unpadded result, which a given
// output_shape only makes larger.
absl::Status MaxUnpool(RunContext& ctx) {
  const Value& x = ctx.In(0);
  if (!x.IsTensor() || x.dtype != DType::kFloat || ctx.In(1).dtype != DType::kInt64 ||
      x.dims != ctx.In(1).dims || x.dims.size() < 3) {
    return ctx.Error("it takes floats and int64 indices of the same shape");
  }
  ASSIGN_OR_RETURN(Value * y, ctx.Out(0));
  float* to = y->Mutable<float>().data();
  std::fill_n(to, y->size(), 0.0f);
  // Without output_shape the result has the shape that the indices count in.
  Shape counted = y->dims;
  const std::vector<int64_t> kernel = ctx.node().IntsAttribute("kernel_shape");
  const size_t axes = x.dims.size() - 2;
  if (ctx.Has(2) && kernel.size() == axes) {
    std::vector<int64_t> strides = ctx.node().IntsAttribute("strides");
    std::vector<int64_t> pads = ctx.node().IntsAttribute("pads");
    if (strides.empty()) strides.assign(axes, 1);
    if (pads.empty()) pads.assign(2 * axes, 0);
    if (strides.size() != axes || pads.size() != 2 * axes) {
      return ctx.Error("'strides' or 'pads' have another length than the window");
    }
    for (size_t i = 0; i < axes; ++i) {
      counted[i + 2] = SaturatingAdd(SaturatingMul(x.dims[i + 2] - 1, strides[i]),
                                     kernel[i] - pads[i] - pads[i + axes]);
      if (counted[i + 2] < 1 || counted[i + 2] > y->dims[i + 2]) {
        return ctx.Error("output_shape is smaller than what the window gives");
      }
    }
    if (y->dims[0] != x.dims[0] || y->dims[1] != x.dims[1]) {
      return ctx.Error("output_shape must keep batch and channels");
    }
  }
  const std::vector<int64_t> strides = Strides(y->dims);
  int64_t size = 1;
  for (const int64_t extent : counted) size = SaturatingMul(size, extent);
  for (int64_t i = 0; i < x.size(); ++i) {
    const auto at = static_cast<size_t>(i);
    int64_t index = ctx.Data<int64_t>(1)[at];
    if (index < 0 || index >= size) {
      return ctx.Error(
          absl::StrCat("index ", index, " lies outside of the result's ", size, " elements"));
    }
    int64_t place = 0;
    for (size_t a = counted.size(); a-- > 0;) {
      place += index % counted[a] * strides[a];
      index /= counted[a];
    }
    to[place] = x.As<float>()[at];
  }
  return absl::OkStatus();
}

constexpr OpForward kForwards[] = {
    {"", "AveragePool", AveragePool, kComputesInFloat | kTakesBlocked},
    {"", "GlobalAveragePool", GlobalAveragePool, kComputesInFloat | kTakesBlocked},
    {"", "GlobalLpPool", GlobalLpPool, kComputesInFloat | kTakesBlocked},
    {"", "GlobalMaxPool", GlobalMaxPool, kComputesInFloat | kTakesBlocked},
    {"", "LpPool", LpPool, kComputesInFloat},
    {"", "MaxPool", MaxPool, kComputesInFloat | kTakesDouble | kTakesBlocked},
    {"", "MaxUnpool", MaxUnpool, kComputesInFloat},
};

}  // namespace

std::span<const OpForward> PoolForwards() { return kForwards; }

}  // namespace lathe::engine
