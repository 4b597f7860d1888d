// Conv and ConvTranspose. A convolution is linear in x and in w: G_x is the transposed convolution
// of G_y with w, G_w the correlation of x with G_y, G_b the sum of G_y over batch and pixels.
#include <algorithm>
#include <memory>
#include <utility>

#include "common/status_macros.h"
#include "worker/engine/ops/backward/backward.h"
#include "worker/engine/ops/forward/window_read.h"

namespace lathe::engine {
namespace {

struct ConvGradState : NodeState {
  std::unique_ptr<ConvGradKernel> kernel;
  std::unique_ptr<ConvGradKernel> fallback;  // for what `kernel` cannot do
};

absl::StatusOr<ConvSpec> ReadConv(const GradContext& ctx, bool transposed) {
  const Shape& x = ctx.Dims(0);
  const Shape& w = ctx.Dims(1);
  const Shape& y = ctx.Out(0).dims;
  ConvSpec spec;
  spec.groups = ctx.node().IntAttribute("group", 1);
  spec.batch = x[0];
  spec.in_channels = x[1];
  spec.out_channels = y[1];
  spec.transposed = transposed;
  ASSIGN_OR_RETURN(spec.window,
                   ReadWindowSpec(ctx, x, y, Shape(w.begin() + 2, w.end()), transposed));
  // Where the last elements of x are read by no window, pads_end came out negative: they may as
  // well count as read.
  WindowSpec& window = spec.window;
  for (size_t i = 0; !transposed && i < window.in.size(); ++i) {
    const int64_t reach = (window.kernel[i] - 1) * window.dilations[i] + 1;
    const int64_t room = window.in[i] + window.pads_begin[i] - reach;
    if (window.pads_end[i] < 0 && room / window.strides[i] + 1 == window.out[i]) {
      window.pads_end[i] = 0;
    }
  }
  return spec;
}

float* Floats(const Value& value) {
  return value.buffer == nullptr ? nullptr : reinterpret_cast<float*>(value.buffer->data());
}

absl::Status RunKernel(GradContext& ctx, ConvGradKernel& kernel, ConvGradSpec spec) {
  const Value& x = ctx.In(0);
  const Value& g = ctx.GradValue(0);
  spec.conv.x_layout = x.layout;
  spec.y_layout = g.layout;
  ASSIGN_OR_RETURN(const Layout layout, kernel.Prepare(spec));
  Value gx;
  Value gw;
  Value gb;
  if (spec.data) {
    ASSIGN_OR_RETURN(gx, ctx.NewValue(x.dims, layout));
  }
  if (spec.weights) {
    ASSIGN_OR_RETURN(gw, ctx.NewValue(ctx.Dims(1)));
  }
  if (spec.weights && spec.conv.bias) {
    ASSIGN_OR_RETURN(gb, ctx.NewValue(ctx.Dims(2)));
  }
  RETURN_IF_ERROR(kernel.Run(Memory(x).data(), Memory(ctx.In(1)).data(), Memory(g).data(),
                             Floats(gx), Floats(gw), Floats(gb)));
  if (spec.data) ctx.Set(0, std::move(gx));
  if (spec.weights && ctx.Wants(1)) ctx.Set(1, std::move(gw));
  if (spec.weights && ctx.Wants(2)) ctx.Set(2, std::move(gb));
  return absl::OkStatus();
}

absl::Status ConvolveGrad(GradContext& ctx, bool transposed) {
  if (!ctx.node().StringAttribute("activation", "").empty() || ctx.Has(3)) {
    return ctx.Unsupported("a fused activation or sum");
  }
  ConvGradSpec spec;
  ASSIGN_OR_RETURN(spec.conv, ReadConv(ctx, transposed));
  spec.conv.bias = ctx.Wants(2);
  spec.data = ctx.Wants(0);
  spec.weights = ctx.Wants(1) || ctx.Wants(2);
  if (!spec.data && !spec.weights) return absl::OkStatus();
  auto& state = ctx.State<ConvGradState>();
  // What the forward run leaves to the reference (ops/forward/conv.cc), and windows that pads cut
  // into.
  const WindowSpec& window = spec.conv.window;
  const auto least = [](const Shape& pads) { return *std::min_element(pads.begin(), pads.end()); };
  const bool fits = ctx.In(0).size() > 0 && ctx.In(1).size() > 0 && ctx.Out(0).size() > 0 &&
                    ctx.Dims(0).size() <= 5 &&
                    std::min(least(window.pads_begin), least(window.pads_end)) >= 0;
  if (fits) {
    if (state.kernel == nullptr) state.kernel = ctx.backend().MakeConvGrad();
    const absl::Status status = RunKernel(ctx, *state.kernel, spec);
    if (!absl::IsUnimplemented(status)) return status;
  }
  if (state.fallback == nullptr) {
    state.fallback = MakeBackend(BackendKind::kReference)->MakeConvGrad();
  }
  RETURN_IF_ERROR(ctx.MakePlain());
  return RunKernel(ctx, *state.fallback, spec);
}

absl::Status ConvGrad(GradContext& ctx) { return ConvolveGrad(ctx, false); }
absl::Status ConvTransposeGrad(GradContext& ctx) { return ConvolveGrad(ctx, true); }

constexpr OpBackward kTable[] = {
    {"", "Conv", ConvGrad, 0b11, kReadsNothing, kTakesBlockedValues},
    {"", "ConvTranspose", ConvTransposeGrad, 0b11, kReadsNothing, kTakesBlockedValues},
};

}  // namespace

std::span<const OpBackward> ConvBackwards() { return kTable; }

}  // namespace lathe::engine
