// Losses over classes.
#include "worker/engine/ops/op_rules.h"

namespace lathe::engine {

// scores [N, C, d1, ...], labels [N, d1, ...]: one loss a label, or one in all.
bool InferLoss(OpContext& ctx) {
  if (!ctx.Ranked(0) || !ctx.Ranked(1)) return false;
  const bool each = ctx.node().StringAttribute("reduction", "mean") == "none";
  ctx.Set(0, ctx.In(0).dtype, each ? ctx.Dims(1) : Shape());
  ctx.Set(1, ctx.In(0).dtype, ctx.Dims(0));  // logarithms of probabilities
  return true;
}

}  // namespace lathe::engine
