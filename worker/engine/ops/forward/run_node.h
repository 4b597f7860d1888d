// Runs one operator: conversions around it, its arithmetic, checks after it.
#ifndef LATHE_WORKER_ENGINE_OPS_FORWARD_RUN_NODE_H_
#define LATHE_WORKER_ENGINE_OPS_FORWARD_RUN_NODE_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/engine/ops/forward/forward.h"
#include "worker/engine/ops/forward/run_context.h"

namespace lathe::engine {

// Calls `forward` on `call`, whose inputs it may replace by converted ones. Every output that is
// wanted is set afterwards, or it is an error.
absl::Status RunNode(const OpForward& forward, NodeCall& call);

// `value` (float16, bfloat16, float32, float64, plain) as another of these types.
absl::StatusOr<Value> ConvertFloat(const Value& value, DType to, ActivationMemory& memory);

// A blocked float32 value in plain layout.
absl::StatusOr<Value> ToPlain(const Value& value, ActivationMemory& memory);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_OPS_FORWARD_RUN_NODE_H_
