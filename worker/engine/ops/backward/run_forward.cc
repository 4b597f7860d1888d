#include "worker/engine/ops/backward/run_forward.h"

#include <limits>
#include <numeric>
#include <utility>

#include "common/status_macros.h"
#include "worker/engine/ops/forward/forward.h"
#include "worker/engine/ops/forward/run_node.h"

namespace lathe::engine {
namespace {

// `count` positions from `first` on, as an int32 value of that shape.
absl::StatusOr<Value> PositionsFrom(GradContext& ctx, int64_t first, const Shape& dims) {
  static_assert(sizeof(float) == sizeof(int32_t));
  ASSIGN_OR_RETURN(Value out, ctx.NewValue(dims));
  out.dtype = DType::kInt32;
  const std::span<int32_t> to = out.Mutable<int32_t>();
  std::iota(to.begin(), to.end(), static_cast<int32_t>(first));
  return out;
}

NodeCall CallOf(GradContext& ctx, const Node& node, std::vector<Value>& inputs,
                std::vector<Value>& outputs, std::unique_ptr<NodeState>* state) {
  NodeCall call;
  call.node = &node;
  call.opset = ctx.opset();
  call.rule = FindOpRule(node.domain, node.op_type);
  call.inputs = std::span<Value>(inputs);
  call.outputs = std::span<Value>(outputs);
  call.memory = &ctx.memory();
  call.backend = &ctx.backend();
  call.state = state;
  return call;
}

}  // namespace

absl::StatusOr<Value> RunForward(GradContext& ctx, const Node& node, std::vector<Value> inputs,
                                 std::unique_ptr<NodeState>* state) {
  const OpForward* forward = FindForward(node.domain, node.op_type);
  if (forward == nullptr) return ctx.Unsupported("its operator cannot be run");
  std::vector<Value> outputs(node.outputs.size());
  const std::vector<const ValueFact*> constants(inputs.size(), nullptr);
  std::unique_ptr<NodeState> fresh;
  NodeCall call = CallOf(ctx, node, inputs, outputs, state == nullptr ? &fresh : state);
  call.constants = constants;
  RETURN_IF_ERROR(RunNode(*forward, call));
  return std::move(outputs[0]);
}

absl::Status EmitByPositions(GradContext& ctx, std::initializer_list<size_t> sources,
                             std::initializer_list<size_t> left_out) {
  bool wanted = false;
  for (const size_t i : sources) wanted |= ctx.Wants(i);
  if (!wanted) return absl::OkStatus();
  std::vector<Value> inputs;
  for (size_t i = 0; i < ctx.input_count(); ++i) {
    inputs.push_back(ctx.In(i).data != nullptr ? ctx.In(i) : Value());
  }
  for (const size_t i : left_out) {
    if (i < inputs.size()) inputs[i] = Value();
  }
  // Position 0 stands for what comes from no source.
  std::vector<int64_t> first;
  int64_t next = 1;
  for (const size_t i : sources) {
    first.push_back(next);
    next += ctx.In(i).size();
    if (next > std::numeric_limits<int32_t>::max()) {
      return ctx.Unsupported("its inputs have more than 2^31 elements");
    }
    ASSIGN_OR_RETURN(inputs[i], PositionsFrom(ctx, first.back(), ctx.Dims(i)));
  }
  ASSIGN_OR_RETURN(const Value moved, RunForward(ctx, ctx.node(), std::move(inputs)));
  const std::span<const int32_t> from = moved.As<int32_t>();
  const std::span<const float> g = ctx.Grad(0);
  if (from.size() != g.size()) return ctx.Error("its output has another shape than before");
  size_t source = 0;
  for (const size_t i : sources) {
    const int64_t begin = first[source++];
    if (!ctx.Wants(i)) continue;
    ASSIGN_OR_RETURN(const std::span<float> out, ctx.EmitZeros(i));
    const auto count = static_cast<int64_t>(out.size());
    for (size_t k = 0; k < from.size(); ++k) {
      const int64_t at = from[k] - begin;
      if (at >= 0 && at < count) out[at] += g[k];
    }
  }
  return absl::OkStatus();
}

ForwardView::ForwardView(GradContext& ctx)
    : outputs_(ctx.node().outputs.size()),
      call_(CallOf(ctx, ctx.node(), inputs_, outputs_, &state_)),
      context_(call_) {
  for (size_t i = 0; i < ctx.input_count(); ++i) inputs_.push_back(ctx.In(i));
  call_.inputs = std::span<Value>(inputs_);
}

}  // namespace lathe::engine
