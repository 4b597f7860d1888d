// The activations that LSTM, GRU and RNN name in their attributes.
#ifndef LATHE_WORKER_ENGINE_OPS_FORWARD_RECURRENT_ACTIVATION_H_
#define LATHE_WORKER_ENGINE_OPS_FORWARD_RECURRENT_ACTIVATION_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/engine/graph/model.h"

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
  // g := g f'(x) where y = f(x), `count` of them; the derivative from the left at kinks.
  void Differentiate(int64_t count, const float* y, float* g) const;
  // Whether y tells f'(x).
  bool Invertible() const {
    return alpha_ >= 0 || (kind_ != Kind::kLeakyRelu && kind_ != Kind::kElu);
  }

 private:
  Kind kind_ = Kind::kSigmoid;
  float alpha_ = 0;
  float beta_ = 0;
};

// As many activations a direction as `defaults` has, from the attributes `activations`,
// `activation_alpha` and `activation_beta`; `defaults` without them. INVALID_ARGUMENT,
// UNIMPLEMENTED for a name that is not known; neither names the node.
absl::StatusOr<std::vector<RecurrentActivation>> RecurrentActivationsOf(
    const Node& node, int64_t directions, const std::vector<RecurrentActivation::Kind>& defaults);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_OPS_FORWARD_RECURRENT_ACTIVATION_H_
