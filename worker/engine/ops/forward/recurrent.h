// What recurrent.cc lends to LSTMs whose weights are stored in another form.
#ifndef LATHE_WORKER_ENGINE_OPS_FORWARD_RECURRENT_H_
#define LATHE_WORKER_ENGINE_OPS_FORWARD_RECURRENT_H_

#include <memory>

#include "absl/status/status.h"
#include "worker/engine/kernels/backend.h"
#include "worker/engine/ops/forward/run_context.h"

namespace lathe::engine {

// The state of a recurrent node; others derive theirs from it.
struct RecurrentState : NodeState {
  std::unique_ptr<GemmKernel> kernel;
};

// In the layout of ONNX's LSTM, whatever the node's inputs 1 and 2 look like.
struct RecurrentWeights {
  const float* w = nullptr;  // [directions, 4 hidden, width]
  const float* r = nullptr;  // [directions, 4 hidden, hidden]
  int64_t directions = 0;
  int64_t width = 0;
  int64_t hidden = 0;
  bool constant = false;  // the same in every run of the node
};

// An LSTM on these weights, whose products see their other side, the input of all steps and the
// state of each, rounded to 8 bits as DynamicQuantizeLinear does. The node's state must be a
// RecurrentState.
absl::Status RunRoundedLstm(RunContext& ctx, const RecurrentWeights& weights);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_OPS_FORWARD_RECURRENT_H_
