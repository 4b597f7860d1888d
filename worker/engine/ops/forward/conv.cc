// Conv, ConvTranspose, DeformConv, and the fused forms of Conv: y = activation(conv(x, w) + b + z).
#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/engine/ops/forward/forward.h"
#include "worker/engine/ops/forward/run_node.h"
#include "worker/engine/ops/forward/window_read.h"
#include "worker/engine/ops/post_op_attributes.h"

namespace lathe::engine {
namespace {

struct ConvState : NodeState {
  std::unique_ptr<ConvKernel> kernel;
  std::unique_ptr<ConvKernel> fallback;  // for what `kernel` cannot do
};

absl::Status CheckFloats(const RunContext& ctx, std::initializer_list<size_t> inputs) {
  for (const size_t i : inputs) {
    if (ctx.Has(i) && (!ctx.In(i).IsTensor() || ctx.In(i).dtype != DType::kFloat)) {
      return ctx.Error(absl::StrCat("input ", i, " must be a tensor of floats"));
    }
  }
  return absl::OkStatus();
}

struct Operands {
  size_t bias = 2;
  size_t residual = 3;
};

absl::Status RunKernel(RunContext& ctx, ConvKernel& kernel, ConvSpec spec, const Value& x,
                       const Shape& out_dims, const Operands& at) {
  spec.x_layout = x.layout;
  ASSIGN_OR_RETURN(const Layout layout, kernel.Prepare(spec));
  Value* y = nullptr;
  const Value& residual = ctx.In(at.residual);
  if (spec.residual && residual.layout == layout) {
    ASSIGN_OR_RETURN(y, ctx.OutInPlace(0, at.residual, DType::kFloat, out_dims, layout));
  } else {
    ASSIGN_OR_RETURN(y, ctx.Out(0, DType::kFloat, out_dims, layout));
  }
  const auto floats = [](const Value& value) { return reinterpret_cast<const float*>(value.data); };
  return kernel.Run(floats(x), floats(ctx.In(1)), spec.bias ? floats(ctx.In(at.bias)) : nullptr,
                    spec.residual ? floats(residual) : nullptr, residual.layout,
                    reinterpret_cast<float*>(y->buffer->data()));
}

// For a residual of another shape, which broadcasts with the result.
absl::Status ConvolveThenAdd(RunContext& ctx, ConvSpec spec, const Shape& out_dims,
                             const Operands& at) {
  ASSIGN_OR_RETURN(const Value residual, ToPlain(ctx.In(at.residual), ctx.memory()));
  const std::optional<Shape> sum = Broadcast(out_dims, residual.dims);
  if (!sum) return ctx.Error("what is added does not broadcast with the result");
  ASSIGN_OR_RETURN(const Value x, ToPlain(ctx.In(0), ctx.memory()));
  const PostOp post_op = std::exchange(spec.post_op, PostOp());
  spec.residual = false;
  spec.x_layout = Layout::kPlain;
  Value conv = Value::Borrow(DType::kFloat, out_dims, nullptr);
  if (Volume(out_dims) > 0) {
    auto& state = ctx.State<ConvState>();
    if (state.kernel == nullptr) state.kernel = ctx.backend().MakeConv();
    ConvKernel* kernel = state.kernel.get();
    absl::StatusOr<Layout> layout = kernel->Prepare(spec);
    if (absl::IsUnimplemented(layout.status())) {
      if (state.fallback == nullptr) {
        state.fallback = MakeBackend(BackendKind::kReference)->MakeConv();
      }
      kernel = state.fallback.get();
      layout = kernel->Prepare(spec);
    }
    RETURN_IF_ERROR(layout.status());
    conv.layout = *layout;
    ASSIGN_OR_RETURN(conv.buffer, ctx.Scratch(conv.bytes()));
    conv.data = conv.buffer->data();
    RETURN_IF_ERROR(kernel->Run(x.As<float>().data(), ctx.Data<float>(1).data(),
                                spec.bias ? ctx.Data<float>(at.bias).data() : nullptr, nullptr,
                                Layout::kPlain, reinterpret_cast<float*>(conv.buffer->data())));
    ASSIGN_OR_RETURN(conv, ToPlain(conv, ctx.memory()));
  }
  ASSIGN_OR_RETURN(Value * y, ctx.Out(0, DType::kFloat, *sum));
  const auto strides = [&sum](Shape dims) {
    dims.insert(dims.begin(), sum->size() - dims.size(), 1);
    std::vector<int64_t> steps = Strides(dims);
    for (size_t i = 0; i < dims.size(); ++i) steps[i] = dims[i] == 1 ? 0 : steps[i];
    return steps;
  };
  const std::vector<int64_t> a = strides(out_dims);
  const std::vector<int64_t> b = strides(residual.dims);
  Shape index(sum->size(), 0);
  float* to = y->Mutable<float>().data();
  for (int64_t i = 0; i < y->size(); ++i) {
    int64_t from = 0;
    int64_t added = 0;
    for (size_t k = 0; k < index.size(); ++k) {
      from += index[k] * a[k];
      added += index[k] * b[k];
    }
    to[i] = conv.As<float>()[static_cast<size_t>(from)] +
            residual.As<float>()[static_cast<size_t>(added)];
    NextIndex(*sum, index);
  }
  ctx.backend().Activate(post_op, y->size(), to);
  return absl::OkStatus();
}

absl::Status Convolve(RunContext& ctx, bool transposed) {
  const Operands at;
  RETURN_IF_ERROR(CheckFloats(ctx, {0, 1, at.bias, at.residual}));
  if (!ctx.Has(0) || !ctx.Has(1)) return ctx.Error("input and weights must be given");
  ASSIGN_OR_RETURN(const ValueFact* fact, ctx.Inferred(0));
  const Shape out_dims = fact->dims;
  const Value& x = ctx.In(0);
  const Value& w = ctx.In(1);
  const std::optional<PostOp> post_op = ReadPostOp(ctx.node());
  if (!post_op) return ctx.Unsupported("an activation that is not known");
  ConvSpec spec;
  spec.groups = ctx.node().IntAttribute("group", 1);
  spec.batch = x.dims[0];
  spec.in_channels = x.dims[1];
  spec.out_channels = out_dims[1];
  spec.transposed = transposed;
  spec.bias = ctx.Has(at.bias);
  spec.residual = ctx.Has(at.residual);
  spec.post_op = *post_op;
  spec.constant_weights = ctx.IsConstant(1);
  if (spec.groups < 1 || spec.in_channels % spec.groups != 0 ||
      spec.out_channels % spec.groups != 0) {
    return ctx.Error(absl::StrCat(spec.groups, " groups do not divide the channels"));
  }
  if (spec.bias && ctx.In(at.bias).dims != Shape{spec.out_channels}) {
    return ctx.Error(absl::StrCat("the bias must have shape [", spec.out_channels, "]"));
  }
  Shape kernel(w.dims.begin() + 2, w.dims.end());
  ASSIGN_OR_RETURN(spec.window,
                   ReadWindowSpec(ctx, x.dims, out_dims, std::move(kernel), transposed));
  if (spec.residual && ctx.In(at.residual).dims != out_dims) {
    return ConvolveThenAdd(ctx, spec, out_dims, at);
  }
  if (Volume(out_dims) == 0) return ctx.Out(0).status();
  auto& state = ctx.State<ConvState>();
  const auto by_reference = [&]() -> absl::Status {
    if (state.fallback == nullptr) {
      state.fallback = MakeBackend(BackendKind::kReference)->MakeConv();
    }
    ASSIGN_OR_RETURN(const Value plain, ToPlain(ctx.In(0), ctx.memory()));
    if (spec.residual && ctx.In(at.residual).layout != Layout::kPlain) {
      return ctx.Unsupported("a blocked operand");
    }
    return RunKernel(ctx, *state.fallback, spec, plain, out_dims, at);
  };
  // Nothing to sum over: the bias alone. oneDNN knows no empty tensors, and no window of more than
  // three axes; a transposed one must reach every output.
  const bool reaches = !transposed || *std::min_element(spec.window.pads_end.begin(),
                                                        spec.window.pads_end.end()) >= 0;
  if (Volume(x.dims) == 0 || Volume(w.dims) == 0 || x.dims.size() > 5 || !reaches) {
    return by_reference();
  }
  if (state.kernel == nullptr) state.kernel = ctx.backend().MakeConv();
  const absl::Status status = RunKernel(ctx, *state.kernel, spec, x, out_dims, at);
  return absl::IsUnimplemented(status) ? by_reference() : status;
}

absl::Status Conv(RunContext& ctx) { return Convolve(ctx, false); }
absl::Status ConvTranspose(RunContext& ctx) { return Convolve(ctx, true); }

// Reads between pixels; outside there are zeros.
float Sample(const float* plane, int64_t height, int64_t width, float y, float x) {
  if (!(y > -1 && y < static_cast<float>(height) && x > -1 && x < static_cast<float>(width))) {
    return 0;
  }
  const auto y0 = static_cast<int64_t>(std::floor(y));
  const auto x0 = static_cast<int64_t>(std::floor(x));
  const float fy = y - static_cast<float>(y0);
  const float fx = x - static_cast<float>(x0);
  const auto pixel = [&](int64_t r, int64_t c) {
    return r < 0 || r >= height || c < 0 || c >= width ? 0.0f : plane[r * width + c];
  };
  return pixel(y0, x0) * (1 - fy) * (1 - fx) + pixel(y0, x0 + 1) * (1 - fy) * fx +
         pixel(y0 + 1, x0) * fy * (1 - fx) + pixel(y0 + 1, x0 + 1) * fy * fx;
}

// x [N, C, H, W], w [O, C / group, kH, kW], offset [N, offset_group kH kW 2, oH, oW] (y before x),
// bias [O], mask [N, offset_group kH kW, oH, oW].
absl::Status DeformConv(RunContext& ctx) {
  RETURN_IF_ERROR(CheckFloats(ctx, {0, 1, 2, 3, 4}));
  if (ctx.In(0).dims.size() != 4) return ctx.Unsupported("other than two spatial axes");
  ASSIGN_OR_RETURN(const ValueFact* fact, ctx.Inferred(0));
  const Shape out = fact->dims;
  const Shape& in = ctx.In(0).dims;
  const Shape& wd = ctx.In(1).dims;
  ASSIGN_OR_RETURN(const WindowSpec win, ReadWindowSpec(ctx, in, out, {wd[2], wd[3]}));
  const int64_t groups = ctx.node().IntAttribute("group", 1);
  const int64_t offset_groups = ctx.node().IntAttribute("offset_group", 1);
  const int64_t taps = wd[2] * wd[3];
  if (groups < 1 || offset_groups < 1 || in[1] % groups != 0 || out[1] % groups != 0 ||
      in[1] % offset_groups != 0) {
    return ctx.Error("groups do not divide the channels");
  }
  const int64_t pixels = out[2] * out[3];
  if (ctx.In(2).dims != Shape{in[0], offset_groups * taps * 2, out[2], out[3]} ||
      (ctx.Has(3) && ctx.In(3).dims != Shape{out[1]}) ||
      (ctx.Has(4) && ctx.In(4).dims != Shape{in[0], offset_groups * taps, out[2], out[3]})) {
    return ctx.Error("offsets, bias or mask have another shape than the window asks for");
  }
  ASSIGN_OR_RETURN(Value * y, ctx.Out(0));
  float* to = y->Mutable<float>().data();
  const int64_t in_group = in[1] / groups;
  const int64_t out_group = out[1] / groups;
  const int64_t per_offset = in[1] / offset_groups;
  std::vector<float> column(static_cast<size_t>(in[1] * taps));
  for (int64_t n = 0; n < in[0]; ++n) {
    const float* x = ctx.Data<float>(0).data() + n * in[1] * in[2] * in[3];
    const float* offset = ctx.Data<float>(2).data() + n * offset_groups * taps * 2 * pixels;
    const float* mask =
        ctx.Has(4) ? ctx.Data<float>(4).data() + n * offset_groups * taps * pixels : nullptr;
    for (int64_t p = 0; p < pixels; ++p) {
      for (int64_t c = 0; c < in[1]; ++c) {
        for (int64_t t = 0; t < taps; ++t) {
          const int64_t slot = c / per_offset * taps + t;
          const auto row = static_cast<float>(p / out[3] * win.strides[0] - win.pads_begin[0] +
                                              t / wd[3] * win.dilations[0]);
          const auto col = static_cast<float>(p % out[3] * win.strides[1] - win.pads_begin[1] +
                                              t % wd[3] * win.dilations[1]);
          const float value =
              Sample(x + c * in[2] * in[3], in[2], in[3], row + offset[2 * slot * pixels + p],
                     col + offset[(2 * slot + 1) * pixels + p]);
          column[static_cast<size_t>(c * taps + t)] =
              mask == nullptr ? value : value * mask[slot * pixels + p];
        }
      }
      for (int64_t o = 0; o < out[1]; ++o) {
        const float* w = ctx.Data<float>(1).data() + o * in_group * taps;
        const float* from = column.data() + o / out_group * in_group * taps;
        float sum = ctx.Has(3) ? ctx.Data<float>(3)[o] : 0.0f;
        for (int64_t i = 0; i < in_group * taps; ++i) sum += from[i] * w[i];
        to[(n * out[1] + o) * pixels + p] = sum;
      }
    }
  }
  return absl::OkStatus();
}

constexpr OpForward kForwards[] = {
    {"", "Conv", Conv, kComputesInFloat | kTakesBlocked},
    {"", "ConvTranspose", ConvTranspose, kComputesInFloat | kTakesBlocked},
    {"", "DeformConv", DeformConv, kComputesInFloat},
    {"com.microsoft", "FusedConv", Conv, kComputesInFloat | kTakesBlocked},
    {"lathe", "Conv", Conv, kComputesInFloat | kTakesBlocked},
};

}  // namespace

std::span<const OpForward> ConvForwards() { return kForwards; }

}  // namespace lathe::engine
