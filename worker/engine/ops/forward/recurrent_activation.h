// The activations that LSTM, GRU and RNN name in their attributes.
#ifndef LATHE_WORKER_ENGINE_OPS_FORWARD_RECURRENT_ACTIVATION_H_
#define LATHE_WORKER_ENGINE_OPS_FORWARD_RECURRENT_ACTIVATION_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/engine/ops/forward/run_context.h"

namespace lathe::engine {

class RecurrentActivation {
 public:
  // Sigmoid and the like, by their names in lower case.
  enum class Kind : uint8_t {
    kSigmoid,
    kTanh,
    kRelu,
    kAffine,  // alpha x + beta
    kLeakyRelu,
    kThresholdedRelu,  // x > alpha ? x : 0
    kScaledTanh,       // alpha tanh(beta x)
    kHardSigmoid,
    kElu,
    kSoftsign,
    kSoftplus,
  };

  RecurrentActivation() = default;
  RecurrentActivation(Kind kind, float alpha, float beta)
      : kind_(kind), alpha_(alpha), beta_(beta) {}
  bool Is(Kind kind) const { return kind_ == kind; }
  // x := f(min(max(x, -clip), clip)), `count` of them; clip <= 0: none.
  void Apply(float clip, int64_t count, float* x) const;

 private:
  Kind kind_ = Kind::kSigmoid;
  float alpha_ = 0;
  float beta_ = 0;
};

// `each` activations a direction, from the attributes `activations`, `activation_alpha` and
// `activation_beta`; `defaults` without them.
absl::StatusOr<std::vector<RecurrentActivation>> ReadRecurrentActivations(
    const RunContext& ctx, int64_t directions,
    const std::vector<RecurrentActivation::Kind>& defaults);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_OPS_FORWARD_RECURRENT_ACTIVATION_H_
