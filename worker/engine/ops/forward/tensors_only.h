// A check that whole families of operators need.
#ifndef LATHE_WORKER_ENGINE_OPS_FORWARD_TENSORS_ONLY_H_
#define LATHE_WORKER_ENGINE_OPS_FORWARD_TENSORS_ONLY_H_

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "worker/engine/ops/forward/run_context.h"

namespace lathe::engine {

// kRun, once every given input is known to be a tensor of numbers: their elements may be read by
// dtype and size alone. A sequence carries the type of its elements, and strings have no bytes.
template <absl::Status (*kRun)(RunContext&)>
absl::Status OnTensors(RunContext& ctx) {
  for (size_t i = 0; i < ctx.input_count(); ++i) {
    if (!ctx.Has(i)) continue;
    if (!ctx.In(i).IsTensor() || ctx.In(i).dtype == DType::kString) {
      return ctx.Error(absl::StrCat("input ", i, " must be a tensor of numbers"));
    }
  }
  return kRun(ctx);
}

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_OPS_FORWARD_TENSORS_ONLY_H_
