#include "worker/engine/ops/forward/qlinear_window.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

namespace lathe::engine {

absl::StatusOr<Window3> ReadWindow3(const RunContext& ctx, const Shape& in, const Shape& kernel,
                                    const Shape& out) {
  const size_t axes = in.size();
  if (axes > 3) return ctx.Unsupported(absl::StrCat("windows over ", axes, " axes"));
  if (axes == 0 || kernel.size() != axes || out.size() != axes) {
    return ctx.Error("the kernel must have as many axes as the input has after the channels");
  }
  const Node& node = ctx.node();
  const std::vector<int64_t> strides = node.IntsAttribute("strides");
  const std::vector<int64_t> dilations = node.IntsAttribute("dilations");
  const std::vector<int64_t> pads = node.IntsAttribute("pads");
  const std::string auto_pad = node.StringAttribute("auto_pad", "NOTSET");
  const bool same = auto_pad == "SAME_UPPER" || auto_pad == "SAME_LOWER";
  Window3 window;
  for (size_t i = 0; i < axes; ++i) {
    const size_t at = 3 - axes + i;
    window.in[at] = in[i];
    window.out[at] = out[i];
    window.kernel[at] = kernel[i];
    if (strides.size() == axes) window.stride[at] = strides[i];
    if (dilations.size() == axes) window.dilation[at] = dilations[i];
    if (pads.size() == 2 * axes && auto_pad != "VALID" && !same) {
      window.before[at] = pads[i];
      window.after[at] = pads[i + axes];
    }
    for (const int64_t extent : {window.stride[at], window.dilation[at], window.kernel[at],
                                 window.before[at] + 1, window.after[at] + 1}) {
      if (extent < 1 || extent > kMaxExtent) {
        return ctx.Error("strides, dilations, pads or kernel_shape are out of range");
      }
    }
    const int64_t reach = SaturatingMul(window.dilation[at], window.kernel[at] - 1) + 1;
    if (reach > kMaxExtent || SaturatingMul(out[i], window.stride[at]) > 4 * kMaxExtent) {
      return ctx.Error("the window reaches too far");
    }
    if (same) {
      const int64_t total = std::max<int64_t>((out[i] - 1) * window.stride[at] + reach - in[i], 0);
      window.before[at] = auto_pad == "SAME_UPPER" ? total / 2 : total - total / 2;
      window.after[at] = total - window.before[at];
    }
  }
  return window;
}

}  // namespace lathe::engine
