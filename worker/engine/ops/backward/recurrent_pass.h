// One direction of a recurrent layer while its gradients are computed (internal to recurrent.cc).
//
// Everything lies in the order in which the direction runs: step s is the s-th that it takes.
#ifndef LATHE_WORKER_ENGINE_OPS_BACKWARD_RECURRENT_PASS_H_
#define LATHE_WORKER_ENGINE_OPS_BACKWARD_RECURRENT_PASS_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/engine/kernels/backend.h"
#include "worker/engine/ops/backward/grad_context.h"
#include "worker/engine/ops/forward/recurrent_layer.h"

namespace lathe::engine {

// Gates that one product gives: [first, first + count) of the weights' order.
struct RecurrentGroup {
  int64_t first = 0;
  int64_t count = 0;
  float* sums = nullptr;  // [steps, batch, count * hidden]
  int64_t step_size = 0;
  float* At(int64_t step) const { return sums + step * step_size; }
};

struct RecurrentPass {
  RecurrentPass(const RecurrentLayer& layer, GradContext& ctx, GemmKernel& gemm, int64_t direction,
                const std::vector<RecurrentGroup>& groups);

  // Takes memory, brings x into order, and computes of all gates' sums what needs no step before:
  // x W' + b, and h R' too where Y tells h (but for a GRU's last gate).
  absl::Status Begin();
  // G_h and G_c of the last step's states.
  void BeginBackward();
  // Adds G_Y of step s to G_h.
  void AddOutputGrad(int64_t s);
  // The gradients of x, the weights, the bias and the initial states from those of the gates' sums,
  // added to what was emitted (zeros at first).
  absl::Status Finish();

  // out [batch, count * hidden] += h R_g' of group g.
  absl::Status TimesR(const float* h, size_t g, float* out) const;
  // out [batch, hidden] += sums R_g.
  absl::Status TimesRBack(const float* sums, size_t g, float* out) const;

  const float* Input(size_t i, int64_t each) const {
    return ctx.Has(i) ? ctx.X(i).data() + direction * each : nullptr;
  }
  const RecurrentActivation& f(size_t i) const {
    return layer.activations[static_cast<size_t>(direction) * layer.activations_each + i];
  }
  int64_t Time(int64_t s) const { return layer.Backwards(direction) ? layer.steps - 1 - s : s; }
  bool IsLive(int64_t s, int64_t b) const {
    return Time(s) < layer.lengths[static_cast<size_t>(b)];
  }
  // The states before step s, [batch, hidden]; after it at s + 1.
  float* H(int64_t s) const { return h + s * layer.batch * layer.hidden; }
  float* C(int64_t s) const { return c + s * layer.batch * layer.hidden; }
  // A GRU's: r h, or h Rn' + b with linear_before_reset; its gradient after the step backwards.
  float* Extra(int64_t s) const { return extra + s * layer.batch * layer.hidden; }

  const RecurrentLayer& layer;
  GradContext& ctx;
  GemmKernel& gemm;
  const int64_t direction;
  std::vector<RecurrentGroup> groups;
  bool knows_h = false;  // h of all steps came with Y
  bool couple = false;   // LSTM's input_forget
  bool linear = false;   // GRU's linear_before_reset
  const float* x = nullptr;
  float* h = nullptr;
  float* c = nullptr;
  float* extra = nullptr;
  float* gh = nullptr;                // [batch, hidden]
  float* gc = nullptr;                // likewise; LSTM
  float* room = nullptr;              // [batch + 6, hidden]
  std::vector<double> peephole_sums;  // [3 * hidden]; LSTM

 private:
  absl::StatusOr<float*> Take(int64_t floats);
  absl::Status TakeMemory();
  // The state of input or gradient `whole` of this direction: part [batch, hidden].
  void ReadState(const float* whole, float* part) const;
  void ReadOutputs();
  absl::Status FinishInput();
  void FinishBias(const RecurrentGroup& group, size_t g, float* out) const;

  std::vector<std::shared_ptr<Buffer>> held_;
};

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_OPS_BACKWARD_RECURRENT_PASS_H_
