// What a Slice shows of its input.
#ifndef LATHE_WORKER_ENGINE_OPS_FORWARD_SLICE_VIEW_H_
#define LATHE_WORKER_ENGINE_OPS_FORWARD_SLICE_VIEW_H_

#include <cstdint>
#include <numeric>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/engine/ops/op_context.h"
#include "worker/engine/ops/op_rules.h"

namespace lathe::engine {

// In elements of the input: the output's element [i, ...] is the input's at first + i strides[0] +
// ...
struct SliceView {
  Shape extents;
  std::vector<int64_t> strides;
  int64_t first = 0;
};

// By the node's attributes or its inputs 1 to 4, of input 0. `Context` is a RunContext or a
// GradContext. INVALID_ARGUMENT when starts, ends, axes and steps do not fit.
template <typename Context>
absl::StatusOr<SliceView> ReadSliceView(const Context& ctx) {
  const Node& node = ctx.node();
  const bool attributes = node.FindAttribute("starts") != nullptr;
  std::vector<int64_t> starts = node.IntsAttribute("starts");
  std::vector<int64_t> ends = node.IntsAttribute("ends");
  std::vector<int64_t> axes = node.IntsAttribute("axes");
  bool axes_given = node.FindAttribute("axes") != nullptr;
  std::vector<int64_t> steps;
  if (!attributes) {
    ASSIGN_OR_RETURN(starts, ctx.Ints(1));
    ASSIGN_OR_RETURN(ends, ctx.Ints(2));
    axes_given = ctx.Has(3);
    if (axes_given) {
      ASSIGN_OR_RETURN(axes, ctx.Ints(3));
    }
    if (ctx.Has(4)) {
      ASSIGN_OR_RETURN(steps, ctx.Ints(4));
    }
  }
  if (!axes_given) {
    axes.resize(starts.size());
    std::iota(axes.begin(), axes.end(), int64_t{0});
  }
  if (steps.empty()) steps.assign(starts.size(), 1);
  if (ends.size() != starts.size() || axes.size() != starts.size() ||
      steps.size() != starts.size()) {
    return ctx.Error("starts, ends, axes and steps must be of one length");
  }
  const Shape& dims = ctx.In(0).dims;
  const auto rank = static_cast<int64_t>(dims.size());
  SliceView view;
  view.extents = dims;
  view.strides = Strides(dims);
  std::vector<bool> seen(dims.size(), false);
  for (size_t i = 0; i < starts.size(); ++i) {
    const auto axis = NormalAxis(axes[i], rank);
    if (!axis || seen[*axis]) {
      return ctx.Error(
          absl::StrCat("axis ", axes[i], " is repeated, or outside of [", -rank, ", ", rank, ")"));
    }
    if (steps[i] == 0) return ctx.Error("a step must not be 0");
    seen[*axis] = true;
    const SliceRange range = ResolveSlice(starts[i], ends[i], steps[i], dims[*axis]);
    view.first += range.first * view.strides[*axis];
    view.extents[*axis] = range.count;
    // Of a single element the step leads nowhere, and may be any number.
    view.strides[*axis] *= range.count > 1 ? range.step : 1;
  }
  return view;
}

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_OPS_FORWARD_SLICE_VIEW_H_
