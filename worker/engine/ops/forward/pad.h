// Pad (pad.cc), listed in the table of pieces.cc.
#ifndef LATHE_WORKER_ENGINE_OPS_FORWARD_PAD_H_
#define LATHE_WORKER_ENGINE_OPS_FORWARD_PAD_H_

#include <cstdint>
#include <numeric>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/engine/ops/forward/run_context.h"
#include "worker/engine/ops/op_context.h"

namespace lathe::engine {

absl::Status RunPad(RunContext& ctx);

// Elements that are added before and after each axis; negative ones are cropped.
struct PadAmounts {
  std::vector<int64_t> begin;
  std::vector<int64_t> end;
};

// By the attribute `pads` or inputs 1 and 3, one an axis of input 0. `Context` is a RunContext or a
// GradContext. INVALID_ARGUMENT when they do not fit its rank.
template <typename Context>
absl::StatusOr<PadAmounts> ReadPadAmounts(const Context& ctx) {
  const auto rank = static_cast<int64_t>(ctx.In(0).dims.size());
  std::vector<int64_t> pads = ctx.node().IntsAttribute("pads");
  if (ctx.node().FindAttribute("pads") == nullptr) {
    ASSIGN_OR_RETURN(pads, ctx.Ints(1));
  }
  std::vector<int64_t> axes(static_cast<size_t>(rank));
  std::iota(axes.begin(), axes.end(), int64_t{0});
  if (ctx.Has(3)) {
    ASSIGN_OR_RETURN(axes, ctx.Ints(3));
  }
  if (pads.size() != 2 * axes.size()) {
    return ctx.Error(
        absl::StrCat("pads must have ", 2 * axes.size(), " elements, not ", pads.size()));
  }
  PadAmounts out;
  out.begin.assign(static_cast<size_t>(rank), 0);
  out.end.assign(static_cast<size_t>(rank), 0);
  std::vector<bool> seen(static_cast<size_t>(rank), false);
  for (size_t i = 0; i < axes.size(); ++i) {
    const auto axis = NormalAxis(axes[i], rank);
    if (!axis || seen[*axis]) {
      return ctx.Error(
          absl::StrCat("axis ", axes[i], " is repeated, or outside of [", -rank, ", ", rank, ")"));
    }
    for (const int64_t amount : {pads[i], pads[i + axes.size()]}) {
      if (amount < -kMaxExtent || amount > kMaxExtent) {
        return ctx.Error(absl::StrCat("pads of ", amount, " are out of range"));
      }
    }
    seen[*axis] = true;
    out.begin[*axis] = pads[i];
    out.end[*axis] = pads[i + axes.size()];
  }
  return out;
}

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_OPS_FORWARD_PAD_H_
