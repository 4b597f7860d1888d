// Convolutions of 8-bit integers: exact sums in int32.
//
//   acc[n, o, p] = bias[o] + sum_{c, t} (x[n, c, at(p, t)] - zx) (w[o, c, t] - zw[o])
//   ConvInteger  acc
//   QLinearConv  saturate(round(acc sx sw[o] / sy) + zy)
//
// What lies outside of x counts as its zero point. The windows of some output positions are laid
// out as the right operand of a product with the weights (kernels/integer_product.h); where a group
// has one input channel they are summed up in place.
#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/engine/kernels/integer_product.h"
#include "worker/engine/ops/forward/qlinear.h"
#include "worker/engine/ops/forward/qlinear_window.h"
#include "worker/engine/ops/op_context.h"

namespace lathe::engine {
namespace {

// Output positions laid out at a time.
constexpr int64_t kPositions = 16 * kPanel;

// Weights, centred, as the left operand [O, C / g * taps].
struct PackedWeights : NodeState {
  std::vector<int16_t> rows;
};

struct Inputs {
  size_t x;
  size_t x_zero;
  size_t w;
  size_t w_zero;
};

struct Geometry {
  Window3 window;
  int64_t batch = 0;
  int64_t groups = 1;
  int64_t in_channels = 0;   // of a group
  int64_t out_channels = 0;  // of a group

  int64_t taps() const { return window.taps(); }
  int64_t depth() const { return in_channels * taps(); }
};

absl::StatusOr<Geometry> ReadGeometry(const RunContext& ctx, const Inputs& inputs,
                                      const Shape& out) {
  const Shape& x = ctx.In(inputs.x).dims;
  const Shape& w = ctx.In(inputs.w).dims;
  Geometry geometry;
  const std::vector<int64_t> kernel = ctx.node().IntsAttribute("kernel_shape");
  if (!kernel.empty() && !std::equal(kernel.begin(), kernel.end(), w.begin() + 2, w.end())) {
    return ctx.Error("kernel_shape is not that of the weights");
  }
  ASSIGN_OR_RETURN(geometry.window,
                   ReadWindow3(ctx, {x.begin() + 2, x.end()}, {w.begin() + 2, w.end()},
                               {out.begin() + 2, out.end()}));
  geometry.batch = x[0];
  geometry.groups = ctx.node().IntAttribute("group", 1);
  geometry.in_channels = w[1];
  if (w[0] % geometry.groups != 0) {
    return ctx.Error(absl::StrCat("its ", w[0], " output channels do not divide into ",
                                  geometry.groups, " groups"));
  }
  geometry.out_channels = w[0] / geometry.groups;
  return geometry;
}

// Lays the windows of output positions [first, first + count) of one group out in panels.
void LayWindows(const Geometry& g, const int16_t* x, int64_t first, int64_t count,
                int16_t* panels) {
  const Window3& w = g.window;
  const int64_t panel = (g.depth() + 1) / 2 * 2 * kPanel;
  std::fill_n(panels, (count + kPanel - 1) / kPanel * panel, int16_t{0});
  const int64_t in_size = w.in_size();
  // Positions of one row of the output at a time: their taps are rows of the input.
  for (int64_t p = first; p < first + count;) {
    const int64_t x0 = p % w.out[2];
    const int64_t length = std::min(w.out[2] - x0, first + count - p);
    const int64_t d = p / w.out[2] / w.out[1];
    const int64_t h = p / w.out[2] % w.out[1];
    int64_t row = 0;
    for (int64_t c = 0; c < g.in_channels; ++c) {
      for (int64_t kd = 0; kd < w.kernel[0]; ++kd) {
        const int64_t id = w.At(0, d, kd);
        for (int64_t kh = 0; kh < w.kernel[1]; ++kh) {
          const int64_t ih = w.At(1, h, kh);
          if (id < 0 || id >= w.in[0] || ih < 0 || ih >= w.in[1]) {
            row += w.kernel[2];
            continue;
          }
          const int16_t* from = x + c * in_size + (id * w.in[1] + ih) * w.in[2];
          for (int64_t kw = 0; kw < w.kernel[2]; ++kw, ++row) {
            const auto [begin, end] = w.Inside(2, kw);
            int16_t* const to = panels + row / 2 * 2 * kPanel + row % 2;
            const int64_t stop = std::min(end, x0 + length);
            for (int64_t o = std::max(begin, x0); o < stop; ++o) {
              const int64_t i = p - first + o - x0;
              to[i / kPanel * panel + i % kPanel * 2] = from[w.At(2, o, kw)];
            }
          }
        }
      }
    }
    p += length;
  }
}

// One input channel, one output channel: sums [positions] := the windows with weights w [taps].
void SumWindows(const Geometry& g, const int16_t* x, const int16_t* w, int32_t* sums) {
  const Window3& win = g.window;
  std::fill_n(sums, win.out_size(), 0);
  int64_t tap = 0;
  for (int64_t kd = 0; kd < win.kernel[0]; ++kd) {
    for (int64_t kh = 0; kh < win.kernel[1]; ++kh) {
      for (int64_t kw = 0; kw < win.kernel[2]; ++kw, ++tap) {
        // Unsigned, for sums that wrap around.
        const auto weight = static_cast<uint32_t>(int32_t{w[tap]});
        const auto [begin, end] = win.Inside(2, kw);
        for (int64_t d = 0; d < win.out[0]; ++d) {
          const int64_t id = win.At(0, d, kd);
          if (id < 0 || id >= win.in[0]) continue;
          for (int64_t h = 0; h < win.out[1]; ++h) {
            const int64_t ih = win.At(1, h, kh);
            if (ih < 0 || ih >= win.in[1]) continue;
            const int16_t* row = x + (id * win.in[1] + ih) * win.in[2];
            int32_t* to = sums + (d * win.out[1] + h) * win.out[2];
            const int64_t step = win.stride[2];
            int64_t at = win.At(2, begin, kw);
            for (int64_t p = begin; p < end; ++p, at += step) {
              to[p] = static_cast<int32_t>(static_cast<uint32_t>(to[p]) +
                                           weight * static_cast<uint32_t>(int32_t{row[at]}));
            }
          }
        }
      }
    }
  }
}

// Centres x once a batch entry and hands on the sums of each channel: take(n, channel, sums,
// first, count) for output positions [first, first + count).
template <typename Take>
absl::Status Convolve(RunContext& ctx, const Inputs& inputs, const Geometry& g, Take take) {
  const Value& x = ctx.In(inputs.x);
  const Value& w = ctx.In(inputs.w);
  ASSIGN_OR_RETURN(const int32_t x_zero, ReadZero(ctx, inputs.x_zero, x.dtype));
  ASSIGN_OR_RETURN(const Lines<int32_t> w_zeros,
                   ReadZeroLines(ctx, inputs.w_zero, w.dtype, w.dims, 0, w.dims.size()));
  const int64_t channels = g.groups * g.out_channels;
  const int64_t positions = g.window.out_size();
  if (g.batch == 0 || channels == 0 || positions == 0) return absl::OkStatus();

  const int64_t depth = g.depth();
  const int64_t stride = LeftStride(depth);
  const auto pack = [&](int16_t* to) {
    VisitBytes(w.dtype, w.data, [&](const auto* data) {
      PackLeft(data, channels, depth, depth, 1, w_zeros.Of(0), w_zeros.step, to);
    });
  };
  std::shared_ptr<Buffer> packed;
  const int16_t* weights = nullptr;
  if (ctx.IsConstant(inputs.w) && (!ctx.Has(inputs.w_zero) || ctx.IsConstant(inputs.w_zero))) {
    auto& state = ctx.State<PackedWeights>();
    if (state.rows.empty()) {
      state.rows.resize(static_cast<size_t>(channels * stride));
      pack(state.rows.data());
    }
    weights = state.rows.data();
  } else {
    ASSIGN_OR_RETURN(packed, ctx.Scratch(channels * stride * 2));
    pack(reinterpret_cast<int16_t*>(packed->data()));
    weights = reinterpret_cast<const int16_t*>(packed->data());
  }
  const int64_t image = g.groups * g.in_channels * g.window.in_size();
  ASSIGN_OR_RETURN(const std::shared_ptr<Buffer> centred, ctx.Scratch(image * 2));
  auto* const from = reinterpret_cast<int16_t*>(centred->data());
  const bool direct = g.in_channels == 1 && g.out_channels == 1;
  const int64_t chunk = direct ? positions : std::min(kPositions, positions);
  ASSIGN_OR_RETURN(const std::shared_ptr<Buffer> sums,
                   ctx.Scratch((direct ? 1 : g.out_channels) * chunk * 4));
  ASSIGN_OR_RETURN(const std::shared_ptr<Buffer> panels,
                   ctx.Scratch(direct ? 0 : PackedElements(depth, chunk) * 2));
  auto* const sum_data = reinterpret_cast<int32_t*>(sums->data());
  auto* const panel_data = reinterpret_cast<int16_t*>(panels->data());
  for (int64_t n = 0; n < g.batch; ++n) {
    VisitBytes(x.dtype, x.data,
               [&](const auto* data) { Centre(data + n * image, image, x_zero, from); });
    for (int64_t group = 0; group < g.groups; ++group) {
      const int16_t* in = from + group * g.in_channels * g.window.in_size();
      const int16_t* w_rows = weights + group * g.out_channels * stride;
      const int64_t channel = group * g.out_channels;
      if (direct) {
        SumWindows(g, in, w_rows, sum_data);
        take(n, channel, sum_data, int64_t{0}, positions);
        continue;
      }
      for (int64_t first = 0; first < positions; first += chunk) {
        const int64_t count = std::min(chunk, positions - first);
        LayWindows(g, in, first, count, panel_data);
        IntegerProduct(g.out_channels, count, depth, w_rows, panel_data, sum_data, count);
        for (int64_t o = 0; o < g.out_channels; ++o) {
          take(n, channel + o, sum_data + o * count, first, count);
        }
      }
    }
  }
  return absl::OkStatus();
}

absl::Status CheckBytes(const RunContext& ctx, const Inputs& inputs) {
  for (const size_t i : {inputs.x, inputs.w}) {
    if (!ctx.In(i).IsTensor() || !IsByte(ctx.In(i).dtype)) {
      return ctx.Error(absl::StrCat("input ", i, " must be int8 or uint8"));
    }
  }
  return absl::OkStatus();
}

template <typename T>
absl::Status RequantizedConv(RunContext& ctx, const Inputs& inputs, const Geometry& g, Value* y) {
  ASSIGN_OR_RETURN(const Affine x, ReadAffine(ctx, 1, 2, ctx.In(0).dtype));
  ASSIGN_OR_RETURN(const Affine out, ReadAffine(ctx, 6, 7, y->dtype));
  ASSIGN_OR_RETURN(const Lines<float> w_scales,
                   ReadScaleLines(ctx, 4, ctx.In(3).dims, 0, ctx.In(3).dims.size()));
  const int64_t channels = g.groups * g.out_channels;
  if (ctx.Has(8) && (ctx.In(8).dtype != DType::kInt32 || ctx.In(8).size() != channels)) {
    return ctx.Error(absl::StrCat("the bias must be ", channels, " int32 numbers"));
  }
  const int32_t* const bias = ctx.Has(8) ? ctx.Data<int32_t>(8).data() : nullptr;
  const int64_t positions = g.window.out_size();
  const auto zero = static_cast<float>(out.zero);
  T* const to = y->Mutable<T>().data();
  return Convolve(
      ctx, inputs, g, [&](int64_t n, int64_t o, int32_t* sums, int64_t first, int64_t count) {
        if (bias != nullptr) {
          const auto b = static_cast<uint32_t>(bias[o]);
          for (int64_t i = 0; i < count; ++i) {
            sums[i] = static_cast<int32_t>(static_cast<uint32_t>(sums[i]) + b);
          }
        }
        const float multiplier = x.scale * w_scales.Of(0)[o * w_scales.step] / out.scale;
        RequantizeRun(sums, count, multiplier, zero, RangeOf<T>(),
                      to + (n * channels + o) * positions + first);
      });
}

}  // namespace

// x, w, x_zero_point, w_zero_point.
absl::Status ConvInteger(RunContext& ctx) {
  constexpr Inputs kInputs = {0, 2, 1, 3};
  ASSIGN_OR_RETURN(Value* const y, ctx.Out(0));
  RETURN_IF_ERROR(CheckBytes(ctx, kInputs));
  ASSIGN_OR_RETURN(const Geometry g, ReadGeometry(ctx, kInputs, y->dims));
  const int64_t channels = g.groups * g.out_channels;
  const int64_t positions = g.window.out_size();
  int32_t* const to = y->Mutable<int32_t>().data();
  return Convolve(ctx, kInputs, g,
                  [&](int64_t n, int64_t o, int32_t* sums, int64_t first, int64_t count) {
                    std::copy_n(sums, count, to + (n * channels + o) * positions + first);
                  });
}

// x, x_scale, x_zero_point, w, w_scale, w_zero_point, y_scale, y_zero_point, B.
absl::Status QLinearConv(RunContext& ctx) {
  constexpr Inputs kInputs = {0, 2, 3, 5};
  if (ctx.node().IntAttribute("channels_last", 0) != 0) {
    return ctx.Unsupported(
        "channels_last is not computed; use the model from before onnxruntime "
        "optimized it");
  }
  ASSIGN_OR_RETURN(Value* const y, ctx.Out(0));
  RETURN_IF_ERROR(CheckBytes(ctx, kInputs));
  ASSIGN_OR_RETURN(const Geometry g, ReadGeometry(ctx, kInputs, y->dims));
  if (y->dtype == DType::kInt8) return RequantizedConv<int8_t>(ctx, kInputs, g, y);
  if (y->dtype == DType::kUint8) return RequantizedConv<uint8_t>(ctx, kInputs, g, y);
  return ctx.Error("the output's zero point must be int8 or uint8");
}

}  // namespace lathe::engine
