// Which axes a Reduce* takes together.
#ifndef LATHE_WORKER_ENGINE_OPS_FORWARD_REDUCED_AXES_H_
#define LATHE_WORKER_ENGINE_OPS_FORWARD_REDUCED_AXES_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/engine/ops/op_context.h"

namespace lathe::engine {

// One flag an axis of input 0, by the attribute `axes` or input 1. `Context` is a RunContext or a
// GradContext. INVALID_ARGUMENT for an axis outside of the rank.
template <typename Context>
absl::StatusOr<std::vector<bool>> ReducedAxes(Context& ctx) {
  const auto rank = static_cast<int64_t>(ctx.In(0).dims.size());
  std::vector<int64_t> axes = ctx.node().IntsAttribute("axes");
  if (ctx.node().FindAttribute("axes") == nullptr && ctx.Has(1)) {
    ASSIGN_OR_RETURN(axes, ctx.Ints(1));
  }
  const bool all = axes.empty() && ctx.node().IntAttribute("noop_with_empty_axes", 0) == 0;
  std::vector<bool> reduced(static_cast<size_t>(rank), all);
  for (const int64_t given : axes) {
    const auto axis = NormalAxis(given, rank);
    if (!axis) {
      return ctx.Error(absl::StrCat("axis ", given, " lies outside of [", -rank, ", ", rank, ")"));
    }
    reduced[*axis] = true;
  }
  return reduced;
}

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_OPS_FORWARD_REDUCED_AXES_H_
