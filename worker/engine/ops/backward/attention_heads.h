// Scaled dot-product attention over heads, backwards (ops/forward/attention_heads.h).
#ifndef LATHE_WORKER_ENGINE_OPS_BACKWARD_ATTENTION_HEADS_H_
#define LATHE_WORKER_ENGINE_OPS_BACKWARD_ATTENTION_HEADS_H_

#include "absl/status/status.h"
#include "worker/engine/ops/backward/grad_context.h"
#include "worker/engine/ops/forward/attention_heads.h"

namespace lathe::engine {

// Where gradients go, each lying as its view says; without data: not wanted. All are added to, but
// for q, which is written.
struct HeadsGrads {
  HeadsView<float> q;
  HeadsView<float> k;
  HeadsView<float> v;
  HeadsView<float> bias;  // as HeadsCall::bias, strides of 0 where it is shared
  int64_t bias_keys = 0;  // elements of a row of the bias
};

// `g`: the gradient of the output.
absl::Status AttendHeadsBack(GradContext& ctx, const HeadsCall& call, HeadsView<const float> g,
                             const HeadsGrads& grads);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_OPS_BACKWARD_ATTENTION_HEADS_H_
