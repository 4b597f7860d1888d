#include "worker/engine/ops/forward/window_read.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace lathe::engine {
namespace {

// Bounds that keep every position of a window within int64.
constexpr int64_t kMaxStep = int64_t{1} << 31;

absl::StatusOr<Shape> ReadInts(const Node& node, const char* name, size_t count, int64_t fallback,
                               int64_t least) {
  Shape values = node.IntsAttribute(name);
  if (values.empty()) values.assign(count, fallback);
  if (values.size() != count) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", name, "' must have ", count, " entries, not ", values.size()));
  }
  for (const int64_t value : values) {
    if (value < least || value > kMaxStep) {
      return absl::InvalidArgumentError(
          absl::StrCat("'", name, "' must be in [", least, ", ", kMaxStep, "], not ", value));
    }
  }
  return values;
}

absl::StatusOr<WindowSpec> ReadSteps(const Node& node, const Shape& in, const Shape& out,
                                     Shape kernel) {
  WindowSpec w;
  const size_t axes = kernel.size();
  if (in.size() != axes + 2 || out.size() != axes + 2) {
    return absl::InvalidArgumentError(
        absl::StrCat("a window of ", axes, " axes does not fit its input"));
  }
  w.in.assign(in.begin() + 2, in.end());
  w.out.assign(out.begin() + 2, out.end());
  const Shape given = node.IntsAttribute("kernel_shape");
  if (!given.empty() && given != kernel) {
    return absl::InvalidArgumentError("'kernel_shape' is not the shape of the weights");
  }
  for (const int64_t extent : kernel) {
    if (extent < 1 || extent > kMaxStep)
      return absl::InvalidArgumentError("a window's extents must be positive");
  }
  w.kernel = std::move(kernel);
  ASSIGN_OR_RETURN(w.strides, ReadInts(node, "strides", axes, 1, 1));
  ASSIGN_OR_RETURN(w.dilations, ReadInts(node, "dilations", axes, 1, 1));
  return w;
}

}  // namespace

absl::StatusOr<WindowSpec> WindowOf(const Node& node, const Shape& in, const Shape& out,
                                    Shape kernel) {
  ASSIGN_OR_RETURN(WindowSpec w, ReadSteps(node, in, out, std::move(kernel)));
  const size_t axes = w.kernel.size();
  const std::string auto_pad = node.StringAttribute("auto_pad", "NOTSET");
  const bool same = auto_pad == "SAME_UPPER" || auto_pad == "SAME_LOWER";
  Shape pads(2 * axes, 0);
  if (!same && auto_pad != "VALID") {
    ASSIGN_OR_RETURN(pads, ReadInts(node, "pads", 2 * axes, 0, -kMaxStep));
  }
  for (size_t i = 0; i < axes; ++i) {
    const int64_t reach = (w.out[i] - 1) * w.strides[i] + (w.kernel[i] - 1) * w.dilations[i] + 1;
    int64_t begin = pads[i];
    if (same) {
      const int64_t total = std::max<int64_t>(0, reach - w.in[i]);
      begin = auto_pad == "SAME_UPPER" ? total / 2 : total - total / 2;
    }
    w.pads_begin.push_back(begin);
    w.pads_end.push_back(reach - w.in[i] - begin);
  }
  return w;
}

absl::StatusOr<WindowSpec> TransposedWindowOf(const Node& node, const Shape& in, const Shape& out,
                                              Shape kernel) {
  ASSIGN_OR_RETURN(WindowSpec w, ReadSteps(node, in, out, std::move(kernel)));
  const size_t axes = w.kernel.size();
  const std::string auto_pad = node.StringAttribute("auto_pad", "NOTSET");
  const bool same = auto_pad == "SAME_UPPER" || auto_pad == "SAME_LOWER";
  const bool given = !node.IntsAttribute("output_shape").empty();
  Shape pads(2 * axes, 0);
  if (!same && auto_pad != "VALID") {
    ASSIGN_OR_RETURN(pads, ReadInts(node, "pads", 2 * axes, 0, -kMaxStep));
  }
  ASSIGN_OR_RETURN(const Shape extra, ReadInts(node, "output_padding", axes, 0, 0));
  for (size_t i = 0; i < axes; ++i) {
    const int64_t reach = (w.in[i] - 1) * w.strides[i] + (w.kernel[i] - 1) * w.dilations[i] + 1;
    int64_t begin = pads[i];
    if (same || given) {
      const int64_t total = reach + extra[i] - w.out[i];
      begin = auto_pad == "SAME_UPPER" ? total / 2 : total - total / 2;
      if (total < 0) begin = auto_pad == "SAME_LOWER" ? total / 2 : 0;
    }
    w.pads_begin.push_back(begin);
    w.pads_end.push_back(reach - w.out[i] - begin);
  }
  return w;
}

Shape PoolPadsEnd(const Node& node, const WindowSpec& window) {
  const size_t axes = window.kernel.size();
  const std::string auto_pad = node.StringAttribute("auto_pad", "NOTSET");
  if (auto_pad != "NOTSET" && !auto_pad.empty() && auto_pad != "VALID") return window.pads_end;
  const Shape pads = node.IntsAttribute("pads");
  if (pads.size() != 2 * axes || auto_pad == "VALID") return Shape(axes, 0);
  return Shape(pads.begin() + static_cast<int64_t>(axes), pads.end());
}

int64_t PaddedCount(const WindowSpec& w, const Shape& pads_end, const Shape& at) {
  int64_t count = 1;
  for (size_t i = 0; i < w.kernel.size(); ++i) {
    const int64_t start = at[i] * w.strides[i] - w.pads_begin[i];
    const int64_t room = w.in[i] + pads_end[i] - start;
    count *= std::clamp<int64_t>((room + w.dilations[i] - 1) / w.dilations[i], 0, w.kernel[i]);
  }
  return count;
}

int64_t Volume(const Shape& extents) {
  int64_t volume = 1;
  for (const int64_t extent : extents) volume *= extent;
  return volume;
}

bool NextIndex(const Shape& dims, Shape& index) {
  for (size_t i = dims.size(); i-- > 0;) {
    if (++index[i] < dims[i]) return true;
    index[i] = 0;
  }
  return false;
}

}  // namespace lathe::engine
