// The operators of attention, by the file they live in; attention.cc lists them. Read...: what
// comes before the heads attend; `attend` is then called once, while all that its argument points
// to is there.
#ifndef LATHE_WORKER_ENGINE_OPS_FORWARD_ATTENTION_H_
#define LATHE_WORKER_ENGINE_OPS_FORWARD_ATTENTION_H_

#include "absl/status/status.h"
#include "worker/engine/ops/forward/attention_heads.h"
#include "worker/engine/ops/forward/run_context.h"

namespace lathe::engine {

// onnx_attention.cc
absl::Status OnnxAttention(RunContext& ctx);
absl::Status ReadOnnxAttention(RunContext& ctx, HeadsFn attend);

// rotary.cc
absl::Status RotaryEmbedding(RunContext& ctx);
absl::Status ContribRotaryEmbedding(RunContext& ctx);

// contrib_attention.cc
absl::Status MultiHeadAttention(RunContext& ctx);
absl::Status ReadMultiHeadAttention(RunContext& ctx, HeadsFn attend);
absl::Status ContribAttention(RunContext& ctx);
absl::Status ReadContribAttention(RunContext& ctx, HeadsFn attend);

// linear_attention.cc
absl::Status LinearAttention(RunContext& ctx);
absl::Status CausalConvWithState(RunContext& ctx);

// swiglu.cc
absl::Status SwiGlu(RunContext& ctx);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_OPS_FORWARD_ATTENTION_H_
