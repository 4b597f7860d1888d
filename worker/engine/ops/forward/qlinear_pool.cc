// Averages of 8-bit values: sums in int32, rounded once. channels_last is [N, spatial..., C].
//
//   y = saturate(round(sum (x - zx) sx / (count sy)) + zy)
//
// count: the taps inside the input, or with count_include_pad those inside the padding as well.
#include <algorithm>
#include <type_traits>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/engine/ops/forward/qlinear.h"
#include "worker/engine/ops/forward/qlinear_window.h"
#include "worker/engine/ops/op_context.h"

namespace lathe::engine {
namespace {

struct Scales {
  Affine x;
  Affine y;
};

absl::StatusOr<Scales> ReadScales(const RunContext& ctx) {
  if (!ctx.In(0).IsTensor() || !IsByte(ctx.In(0).dtype)) {
    return ctx.Error("X must be int8 or uint8");
  }
  Scales scales;
  ASSIGN_OR_RETURN(scales.x, ReadAffine(ctx, 1, 2, ctx.In(0).dtype));
  ASSIGN_OR_RETURN(scales.y, ReadAffine(ctx, 3, 4, ctx.In(0).dtype));
  return scales;
}

// The mean of `count` values, from the sum of their bytes' centred values.
template <typename T>
T Average(int64_t sum, int64_t count, const Scales& scales) {
  const float mean =
      count == 0 ? 0.0F : static_cast<float>(sum) * scales.x.scale / static_cast<float>(count);
  T q{};
  QuantizeRun(&mean, 1, scales.y.scale, static_cast<float>(scales.y.zero), RangeOf<T>(), &q);
  return q;
}

// Taps of output index `o` that lie inside the padded input.
int64_t PaddedTaps(const Window3& w, size_t axis, int64_t o) {
  const int64_t room = w.in[axis] + w.after[axis] - w.At(axis, o, 0);
  return room <= 0 ? 0 : std::min(w.kernel[axis], (room - 1) / w.dilation[axis] + 1);
}

template <typename T>
void Pool(const T* x, const Window3& w, bool include_pad, const Scales& scales, T* y) {
  for (int64_t d = 0; d < w.out[0]; ++d) {
    const auto [d_begin, d_end] = w.TapsInside(0, d);
    for (int64_t h = 0; h < w.out[1]; ++h) {
      const auto [h_begin, h_end] = w.TapsInside(1, h);
      for (int64_t c = 0; c < w.out[2]; ++c) {
        const auto [c_begin, c_end] = w.TapsInside(2, c);
        int64_t sum = 0;
        for (int64_t kd = d_begin; kd < d_end; ++kd) {
          for (int64_t kh = h_begin; kh < h_end; ++kh) {
            const T* row = x + (w.At(0, d, kd) * w.in[1] + w.At(1, h, kh)) * w.in[2];
            for (int64_t kw = c_begin; kw < c_end; ++kw) {
              sum += row[w.At(2, c, kw)] - scales.x.zero;
            }
          }
        }
        const int64_t inside = (d_end - d_begin) * (h_end - h_begin) * (c_end - c_begin);
        const int64_t padded = SaturatingMul(
            SaturatingMul(PaddedTaps(w, 0, d), PaddedTaps(w, 1, h)), PaddedTaps(w, 2, c));
        *y++ = Average<T>(sum, include_pad ? padded : inside, scales);
      }
    }
  }
}

}  // namespace

absl::Status QLinearAveragePool(RunContext& ctx) {
  if (ctx.node().IntAttribute("channels_last", 0) != 0) {
    return ctx.Unsupported(
        "channels_last is not computed; use the model from before onnxruntime "
        "optimized it");
  }
  ASSIGN_OR_RETURN(const Scales scales, ReadScales(ctx));
  ASSIGN_OR_RETURN(Value* const y, ctx.Out(0));
  const Shape& dims = ctx.In(0).dims;
  ASSIGN_OR_RETURN(const Window3 window, ReadWindow3(ctx, {dims.begin() + 2, dims.end()},
                                                     ctx.node().IntsAttribute("kernel_shape"),
                                                     {y->dims.begin() + 2, y->dims.end()}));
  const bool include_pad = ctx.node().IntAttribute("count_include_pad", 0) != 0;
  if (y->size() == 0) return absl::OkStatus();
  const int64_t planes = dims[0] * dims[1];
  VisitBytes(y->dtype, ctx.In(0).data, [&](const auto* x) {
    using T = std::remove_cvref_t<decltype(*x)>;
    for (int64_t p = 0; p < planes; ++p) {
      Pool(x + p * window.in_size(), window, include_pad, scales,
           y->Mutable<T>().data() + p * window.out_size());
    }
  });
  return absl::OkStatus();
}

absl::Status QLinearGlobalAveragePool(RunContext& ctx) {
  ASSIGN_OR_RETURN(const Scales scales, ReadScales(ctx));
  const Shape& dims = ctx.In(0).dims;
  if (dims.size() < 2) return ctx.Error("X must have a batch and channels");
  const bool last = ctx.node().IntAttribute("channels_last", 0) != 0;
  Shape out = dims;
  int64_t area = 1;
  for (size_t d = last ? 1 : 2; d < dims.size() - (last ? 1 : 0); ++d) {
    area = SaturatingMul(area, dims[d]);
    out[d] = 1;
  }
  ASSIGN_OR_RETURN(Value* const y, ctx.Out(0, ctx.In(0).dtype, out));
  const int64_t channels = last ? dims.back() : dims[1];
  VisitBytes(y->dtype, ctx.In(0).data, [&](const auto* x) {
    using T = std::remove_cvref_t<decltype(*x)>;
    T* to = y->Mutable<T>().data();
    for (int64_t p = 0; p < y->size(); ++p) {
      const T* from = last ? x + p / channels * area * channels + p % channels : x + p * area;
      const int64_t step = last ? channels : 1;
      int64_t sum = 0;
      for (int64_t i = 0; i < area; ++i) sum += from[i * step] - scales.x.zero;
      to[p] = Average<T>(sum, area, scales);
    }
  });
  return absl::OkStatus();
}

}  // namespace lathe::engine
