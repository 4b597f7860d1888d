// Rules that run an operator forwards: on gradients, where the gradient of one operator is another
// one, or on positions, where an operator merely moves elements.
#ifndef LATHE_WORKER_ENGINE_OPS_BACKWARD_RUN_FORWARD_H_
#define LATHE_WORKER_ENGINE_OPS_BACKWARD_RUN_FORWARD_H_

#include <initializer_list>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/engine/ops/backward/grad_context.h"
#include "worker/engine/ops/forward/run_context.h"

namespace lathe::engine {

// Output 0 of `node`, an operator of the rule's own domain and version, on `inputs`. `state` is
// what it keeps from run to run; nullptr: nothing.
absl::StatusOr<Value> RunForward(GradContext& ctx, const Node& node, std::vector<Value> inputs,
                                 std::unique_ptr<NodeState>* state = nullptr);

// For an operator whose output 0 consists of elements of its inputs `sources` and of zeros: runs it
// on the elements' positions, which tell where each element of the output comes from, and adds the
// gradients up there. Inputs that the rule does not read, and those of `left_out`, are left out of
// that run. Takes 4 bytes an element of the sources and the output.
absl::Status EmitByPositions(GradContext& ctx, std::initializer_list<size_t> sources,
                             std::initializer_list<size_t> left_out = {});

// Reads a node's attributes and inputs as the operator's forward run does.
class ForwardView {
 public:
  explicit ForwardView(GradContext& ctx);
  ForwardView(const ForwardView&) = delete;
  ForwardView& operator=(const ForwardView&) = delete;

  RunContext& context() { return context_; }

 private:
  std::vector<Value> inputs_;
  std::vector<Value> outputs_;
  std::unique_ptr<NodeState> state_;
  NodeCall call_;
  RunContext context_;
};

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_OPS_BACKWARD_RUN_FORWARD_H_
