// Convolutions and pools: operators that slide a window over the axes after batch and channels.
//
//   out = floor((in + pad_begin + pad_end - (dilation (kernel - 1) + 1)) / stride) + 1
//
// with ceil instead of floor under ceil_mode, and ceil(in / stride) under auto_pad SAME_*.
// Multiply-accumulates of a convolution: output elements times (I / groups) times kernel elements;
// of a transposed one: input elements times (O / groups) times kernel elements.
#include <algorithm>

#include "worker/engine/ops/op_rules.h"

namespace lathe::engine {
namespace {

using Wide = __int128;

struct Window {
  std::vector<int64_t> kernel;
  std::vector<int64_t> strides;
  std::vector<int64_t> dilations;
  std::vector<int64_t> pads;
  std::string auto_pad;
};

// The node's attributes for `axes` spatial axes; nullopt when one has another length.
std::optional<Window> ReadWindow(const Node& node, std::vector<int64_t> kernel) {
  Window window;
  const size_t axes = kernel.size();
  window.kernel = std::move(kernel);
  const auto read = [&node](const char* name, size_t count, int64_t fallback) {
    std::vector<int64_t> values = node.IntsAttribute(name);
    if (values.empty()) values.assign(count, fallback);
    return values;
  };
  window.strides = read("strides", axes, 1);
  window.dilations = read("dilations", axes, 1);
  window.pads = read("pads", 2 * axes, 0);
  window.auto_pad = node.StringAttribute("auto_pad", "NOTSET");
  if (window.strides.size() != axes || window.dilations.size() != axes ||
      window.pads.size() != 2 * axes) {
    return std::nullopt;
  }
  for (size_t i = 0; i < axes; ++i) {
    if (window.strides[i] < 1 || window.dilations[i] < 1 || window.kernel[i] < 1) {
      return std::nullopt;
    }
  }
  return window;
}

// -1 when the window does not fit.
int64_t SlideCount(const Window& window, size_t axis, int64_t in, bool ceil_mode) {
  const Wide stride = window.strides[axis];
  if (window.auto_pad == "SAME_UPPER" || window.auto_pad == "SAME_LOWER") {
    return static_cast<int64_t>((in + stride - 1) / stride);
  }
  const size_t axes = window.kernel.size();
  const bool valid = window.auto_pad == "VALID";
  const Wide begin = valid ? 0 : window.pads[axis];
  const Wide end = valid ? 0 : window.pads[axis + axes];
  const Wide reach = Wide{window.dilations[axis]} * (window.kernel[axis] - 1) + 1;
  const Wide room = Wide{in} + begin + end - reach;
  if (room < 0) return -1;
  Wide count = room / stride + 1;
  if (ceil_mode) {
    count = (room + stride - 1) / stride + 1;
    // The last window must start inside the input or the padding before it.
    if ((count - 1) * stride >= in + begin) --count;
  }
  return count > kMaxExtent ? -1 : static_cast<int64_t>(count);
}

// Output of a convolution of input `x` with weight `w`.
bool ConvDims(const OpContext& ctx, size_t x, size_t w, Shape* out) {
  if (!ctx.Ranked(x) || !ctx.Ranked(w) || ctx.Rank(x) < 3 || ctx.Rank(w) != ctx.Rank(x)) {
    return false;
  }
  const int64_t groups = ctx.node().IntAttribute("group", 1);
  const Shape& in = ctx.Dims(x);
  const Shape& weight = ctx.Dims(w);
  if (groups < 1 || groups > kMaxExtent || in[1] != SaturatingMul(weight[1], groups)) return false;
  const auto window = ReadWindow(ctx.node(), {weight.begin() + 2, weight.end()});
  if (!window) return false;
  *out = {in[0], weight[0]};
  for (size_t i = 2; i < in.size(); ++i) {
    const int64_t count = SlideCount(*window, i - 2, in[i], false);
    if (count < 0) return false;
    out->push_back(count);
  }
  return true;
}

std::optional<MacCount> ConvCount(const OpContext& ctx, size_t w, MacType type) {
  if (!ctx.Ranked(w) || ctx.output_count() < 1 || !ctx.Out(0).ranked) return std::nullopt;
  int64_t count = ctx.Out(0).size();
  for (size_t i = 1; i < ctx.Dims(w).size(); ++i) count = SaturatingMul(count, ctx.Dims(w)[i]);
  return MacCount{count, type};
}

}  // namespace

bool InferConv(OpContext& ctx) {
  Shape dims;
  if (!ConvDims(ctx, 0, 1, &dims)) return false;
  ctx.Set(0, ctx.In(0).dtype, std::move(dims));
  return true;
}

bool InferConvInteger(OpContext& ctx) {
  Shape dims;
  if (!ConvDims(ctx, 0, 1, &dims)) return false;
  ctx.Set(0, DType::kInt32, std::move(dims));
  return true;
}

bool InferQLinearConv(OpContext& ctx) {
  Shape dims;
  if (!ConvDims(ctx, 0, 3, &dims)) return false;
  ctx.Set(0, ctx.Has(7) ? ctx.In(7).dtype : ctx.In(0).dtype, std::move(dims));
  return true;
}

bool InferConvTranspose(OpContext& ctx) {
  if (!ctx.Ranked(0) || !ctx.Ranked(1) || ctx.Rank(0) < 3 || ctx.Rank(1) != ctx.Rank(0)) {
    return false;
  }
  const Node& node = ctx.node();
  const Shape& in = ctx.Dims(0);
  const Shape& weight = ctx.Dims(1);
  const int64_t groups = node.IntAttribute("group", 1);
  if (groups < 1 || in[1] != weight[0]) return false;
  const auto window = ReadWindow(node, {weight.begin() + 2, weight.end()});
  if (!window) return false;
  const size_t axes = window->kernel.size();
  const std::vector<int64_t> given = node.IntsAttribute("output_shape");
  std::vector<int64_t> extra = node.IntsAttribute("output_padding");
  if (extra.empty()) extra.assign(axes, 0);
  if (extra.size() != axes || (!given.empty() && given.size() < axes)) return false;
  Shape dims = {in[0], SaturatingMul(weight[1], groups)};
  for (size_t i = 0; i < axes; ++i) {
    if (!given.empty()) {
      dims.push_back(given[given.size() - axes + i]);
      continue;
    }
    const Wide reach = Wide{window->dilations[i]} * (window->kernel[i] - 1) + 1;
    Wide extent = Wide{window->strides[i]} * (in[i + 2] - 1) + extra[i] + reach;
    if (window->auto_pad == "SAME_UPPER" || window->auto_pad == "SAME_LOWER") {
      extent = Wide{window->strides[i]} * in[i + 2];
    } else if (window->auto_pad != "VALID") {
      extent -= Wide{window->pads[i]} + window->pads[i + axes];
    }
    if (extent < 0 || extent > kMaxExtent) return false;
    dims.push_back(static_cast<int64_t>(extent));
  }
  ctx.Set(0, ctx.In(0).dtype, std::move(dims));
  return true;
}

bool InferDeformConv(OpContext& ctx) { return InferConv(ctx); }

bool InferPool(OpContext& ctx) {
  if (!ctx.Ranked(0) || ctx.Rank(0) < 3) return false;
  const Shape& in = ctx.Dims(0);
  const std::vector<int64_t> kernel = ctx.node().IntsAttribute("kernel_shape");
  if (kernel.size() + 2 != in.size()) return false;
  const auto window = ReadWindow(ctx.node(), kernel);
  if (!window) return false;
  const bool ceil_mode = ctx.node().IntAttribute("ceil_mode", 0) != 0;
  Shape dims = {in[0], in[1]};
  for (size_t i = 2; i < in.size(); ++i) {
    const int64_t count = SlideCount(*window, i - 2, in[i], ceil_mode);
    if (count < 0) return false;
    dims.push_back(count);
  }
  ctx.Set(0, ctx.In(0).dtype, dims);
  ctx.Set(1, DType::kInt64, std::move(dims));
  return true;
}

bool InferGlobalPool(OpContext& ctx) {
  if (!ctx.Ranked(0) || ctx.Rank(0) < 2) return false;
  Shape dims = ctx.Dims(0);
  std::fill(dims.begin() + 2, dims.end(), 1);
  ctx.Set(0, ctx.In(0).dtype, std::move(dims));
  return true;
}

// The inverse of a pool's extents, or output_shape.
bool InferMaxUnpool(OpContext& ctx) {
  if (!ctx.Ranked(0) || ctx.Rank(0) < 3) return false;
  if (ctx.Has(2)) {
    const auto shape = ctx.Ints(2);
    if (!shape || shape->size() != ctx.Dims(0).size()) return false;
    ctx.Set(0, ctx.In(0).dtype, *shape);
    return true;
  }
  const std::vector<int64_t> kernel = ctx.node().IntsAttribute("kernel_shape");
  if (kernel.size() + 2 != ctx.Dims(0).size()) return false;
  const auto window = ReadWindow(ctx.node(), kernel);
  if (!window) return false;
  Shape dims = {ctx.Dims(0)[0], ctx.Dims(0)[1]};
  for (size_t i = 0; i < kernel.size(); ++i) {
    const Wide extent = (Wide{ctx.Dims(0)[i + 2]} - 1) * window->strides[i] + kernel[i] -
                        window->pads[i] - window->pads[i + kernel.size()];
    if (extent < 0 || extent > kMaxExtent) return false;
    dims.push_back(static_cast<int64_t>(extent));
  }
  ctx.Set(0, ctx.In(0).dtype, std::move(dims));
  return true;
}

bool InferRoiPool(OpContext& ctx) {
  if (!ctx.Ranked(0) || !ctx.Ranked(1) || ctx.Rank(0) != 4 || ctx.Rank(1) != 2) return false;
  int64_t height = ctx.node().IntAttribute("output_height", 1);
  int64_t width = ctx.node().IntAttribute("output_width", 1);
  const std::vector<int64_t> pooled = ctx.node().IntsAttribute("pooled_shape");
  if (pooled.size() == 2) {
    height = pooled[0];
    width = pooled[1];
  }
  ctx.Set(0, ctx.In(0).dtype, {ctx.Dims(1)[0], ctx.Dims(0)[1], height, width});
  return true;
}

// [N, C product(block_shape), L] -> [N, C, image_shape...].
bool InferCol2Im(OpContext& ctx) {
  const auto image = ctx.Ints(1);
  const auto block = ctx.Ints(2);
  if (!ctx.Ranked(0) || ctx.Rank(0) != 3 || !image || !block) return false;
  int64_t elements = 1;
  for (const int64_t extent : *block) {
    if (extent < 1) return false;
    elements = SaturatingMul(elements, extent);
  }
  if (ctx.Dims(0)[1] % elements != 0) return false;
  Shape dims = {ctx.Dims(0)[0], ctx.Dims(0)[1] / elements};
  dims.insert(dims.end(), image->begin(), image->end());
  ctx.Set(0, ctx.In(0).dtype, std::move(dims));
  return true;
}

std::optional<MacCount> MacsConv(const OpContext& ctx) {
  return ConvCount(ctx, 1, ProductType(ctx, 0, 1));
}

std::optional<MacCount> MacsConvInteger(const OpContext& ctx) {
  return ConvCount(ctx, 1, MacType::kInt8);
}

std::optional<MacCount> MacsQLinearConv(const OpContext& ctx) {
  return ConvCount(ctx, 3, MacType::kInt8);
}

std::optional<MacCount> MacsConvTranspose(const OpContext& ctx) {
  if (!ctx.Ranked(0) || !ctx.Ranked(1)) return std::nullopt;
  int64_t count = ctx.In(0).size();
  for (size_t i = 1; i < ctx.Dims(1).size(); ++i) count = SaturatingMul(count, ctx.Dims(1)[i]);
  return MacCount{count, ProductType(ctx, 0, 1)};
}

}  // namespace lathe::engine
