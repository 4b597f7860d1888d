// What a Resize or Upsample does along each axis, from its attributes and inputs.
#ifndef LATHE_WORKER_ENGINE_OPS_FORWARD_RESIZE_PLAN_H_
#define LATHE_WORKER_ENGINE_OPS_FORWARD_RESIZE_PLAN_H_

#include <vector>

#include "absl/status/statusor.h"
#include "worker/engine/ops/forward/resample_axis.h"
#include "worker/engine/ops/forward/run_context.h"

namespace lathe::engine {

struct ResizePlan {
  ResampleRule rule;
  std::vector<ResampleAxis> axes;  // one an axis of the input
  std::vector<ResampleTaps> taps;  // likewise; empty for the identity
  double extrapolation = 0;
};

// For an output of shape `dims`. Without elements there are no axes and no taps. INVALID_ARGUMENT
// when an attribute or input is not one of ONNX's.
absl::StatusOr<ResizePlan> ReadResizePlan(RunContext& ctx, const Shape& dims);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_OPS_FORWARD_RESIZE_PLAN_H_
