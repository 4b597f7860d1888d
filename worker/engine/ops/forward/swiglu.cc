// SwiGLU: y = a sigmoid(alpha a) b, the gate of a language model's feed-forward layer.
#include <cmath>

#include "common/status_macros.h"
#include "worker/engine/ops/forward/attention.h"

namespace lathe::engine {

absl::Status SwiGlu(RunContext& ctx) {
  if (ctx.In(0).dtype != DType::kFloat || ctx.In(1).dtype != DType::kFloat ||
      ctx.In(0).dims != ctx.In(1).dims) {
    return ctx.Error("A and B must be floats of one shape");
  }
  const float alpha = ctx.node().FloatAttribute("alpha", 1);
  const std::span<const float> a = ctx.Data<float>(0);
  const std::span<const float> b = ctx.Data<float>(1);
  ASSIGN_OR_RETURN(Value* const y, ctx.OutInPlace(0, 0));
  float* const out = y->Mutable<float>().data();
  for (size_t i = 0; i < a.size(); ++i) out[i] = a[i] / (1.0F + std::exp(-alpha * a[i])) * b[i];
  return absl::OkStatus();
}

}  // namespace lathe::engine
