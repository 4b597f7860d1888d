#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/engine/graph/scopes.h"
#include "worker/engine/ops/forward/run_node.h"
#include "worker/engine/run/frame.h"

namespace lathe::engine {
namespace {

// How many nodes run between two looks at `cancelled`.
constexpr int64_t kAskEvery = 64;

absl::Status AtNode(const absl::Status& status, const Node& node) {
  absl::Status out(status.code(), absl::StrCat(DescribeNode(node), ": ", status.message()));
  status.ForEachPayload(
      [&out](absl::string_view url, const absl::Cord& payload) { out.SetPayload(url, payload); });
  return out;
}

Value Lookup(const ValueRef& ref, Frame& frame) {
  if (ref.from == ValueRef::From::kNone) return Value();
  const Program* program = frame.program;
  Frame* at = &frame;
  for (int i = 0; i < ref.depth; ++i) {
    program = program->outer;
    at = at->outer;
  }
  return ref.from == ValueRef::From::kConstant ? program->constants[ref.index]
                                               : at->slots[ref.index];
}

}  // namespace

absl::Status Machine::Visit() {
  if (++visits_ > options_.max_node_visits) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the run was stopped after ", options_.max_node_visits,
                     " nodes: a loop that does not end, or one too long to be followed"));
  }
  if (visits_ % kAskEvery == 0 && options_.cancelled && options_.cancelled()) {
    return absl::CancelledError("the run was stopped");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Value>> Machine::RunProgram(const Program& program, Frame* outer,
                                                       std::vector<Value> inputs) {
  Frame frame{&program, outer, std::vector<Value>(static_cast<size_t>(program.slots))};
  for (size_t i = 0; i < program.inputs.size(); ++i) {
    if (program.inputs[i] >= 0 && i < inputs.size()) {
      frame.slots[program.inputs[i]] = std::move(inputs[i]);
    }
  }
  inputs.clear();
  for (const Instruction& instruction : program.instructions) {
    RETURN_IF_ERROR(Visit());
    RETURN_IF_ERROR(RunInstruction(instruction, frame));
  }
  std::vector<Value> outputs;
  outputs.reserve(program.outputs.size());
  for (const ValueRef& ref : program.outputs) outputs.push_back(Lookup(ref, frame));
  return outputs;
}

absl::Status Machine::RunInstruction(const Instruction& instruction, Frame& frame) {
  std::vector<Value> inputs;
  inputs.reserve(instruction.inputs.size());
  for (size_t i = 0; i < instruction.inputs.size(); ++i) {
    const ValueRef& ref = instruction.inputs[i];
    inputs.push_back(instruction.takes[i] ? std::move(frame.slots[ref.index]) : Lookup(ref, frame));
    if (instruction.takes[i]) frame.slots[ref.index] = Value();
  }
  // Shared, so that they outlive the node.
  std::vector<Value> seen;
  if (options_.observe) seen = inputs;
  std::vector<Value> outputs;
  absl::Status status;
  if (instruction.kind == Instruction::Kind::kOperator) {
    outputs.resize(instruction.outputs.size());
    NodeCall call;
    call.node = instruction.node;
    call.opset = instruction.opset;
    call.rule = instruction.rule;
    call.inputs = std::span<Value>(inputs);
    call.constants = instruction.constants;
    call.outputs = std::span<Value>(outputs);
    call.memory = &memory_;
    call.backend = &backend_;
    call.state = &instruction.state;
    call.cancelled = &options_.cancelled;
    status = RunNode(*instruction.forward, call);
  } else {
    absl::StatusOr<std::vector<Value>> results;
    switch (instruction.kind) {
      case Instruction::Kind::kIf:
        results = RunIf(instruction, frame, std::move(inputs));
        break;
      case Instruction::Kind::kLoop:
        results = RunLoop(instruction, frame, std::move(inputs));
        break;
      case Instruction::Kind::kScan:
        results = RunScan(instruction, frame, std::move(inputs));
        break;
      default:
        results = RunProgram(*instruction.bodies[0], nullptr, std::move(inputs));
        break;
    }
    status = results.status();
    if (results.ok()) outputs = *std::move(results);
  }
  if (!status.ok()) return AtNode(status, *instruction.node);
  if (options_.observe) {
    for (std::vector<Value>* values : {&seen, &outputs}) {
      for (Value& value : *values) {
        if (!value.IsTensor()) continue;
        ASSIGN_OR_RETURN(value, ToPlain(value, memory_));
      }
    }
    RETURN_IF_ERROR(options_.observe(*instruction.node, seen, outputs));
  }
  for (size_t i = 0; i < instruction.outputs.size() && i < outputs.size(); ++i) {
    if (instruction.outputs[i] >= 0) frame.slots[instruction.outputs[i]] = std::move(outputs[i]);
  }
  for (const int slot : instruction.releases) frame.slots[slot] = Value();
  return absl::OkStatus();
}

}  // namespace lathe::engine
