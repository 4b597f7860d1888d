#include "worker/engine/train/tape.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/engine/kernels/elementwise.h"
#include "worker/engine/ops/backward/backward.h"
#include "worker/engine/ops/forward/run_node.h"
#include "worker/engine/run/frame.h"
#include "worker/engine/run/program.h"

namespace lathe::engine {
namespace {

bool IsFloatType(DType dtype) {
  return dtype == DType::kFloat || dtype == DType::kDouble || dtype == DType::kFloat16 ||
         dtype == DType::kBfloat16;
}

// Type, shape and layout without the elements.
Value ShapeOnly(const Value& value) {
  Value out;
  out.kind = value.kind;
  out.layout = value.layout;
  out.dtype = value.dtype;
  out.dims = value.dims;
  return out;
}

bool InOwnMemory(const Value& value) {
  return value.buffer != nullptr && value.buffer.use_count() == 1 && value.keep_alive == nullptr;
}

}  // namespace

struct Tape::Impl {
  explicit Impl(const TapeOptions& given)
      : memory(given.max_activation_bytes), backend(MakeBackend(given.backend)) {
    options.max_activation_bytes = given.max_activation_bytes;
    options.cancelled = given.cancelled;
    machine.emplace(options, memory, *backend);
  }

  // What the backward rule of one instruction needs.
  struct Record {
    std::vector<Value> inputs;
    std::vector<Value> outputs;
    std::vector<char> wanted;  // one an input
  };

  absl::Status RunInstruction(size_t index);
  absl::Status RunOperator(const Instruction& instruction, std::vector<Value>& inputs,
                           std::vector<Value>* outputs);
  void Remember(size_t index, std::vector<Value> inputs, const std::vector<Value>& outputs);
  absl::Status StepBack(size_t index);
  absl::Status Prepare(const OpBackward& rule, std::vector<Value>* values);
  absl::Status Accumulate(int slot, Value grad);
  void Forget();

  ExecutorOptions options;
  std::unique_ptr<Program> program;
  std::vector<const OpBackward*> rules;                 // one an instruction; nullptr: none
  std::vector<std::unique_ptr<NodeState>> rule_states;  // one an instruction
  std::vector<int> wanted_slots;                        // one a wanted input; -1: not read
  std::vector<char> reached;                            // one a wanted input
  std::vector<BlockedNode> blocked;
  std::set<size_t> blocked_at;
  std::vector<std::string> output_names;
  ActivationMemory memory;
  std::unique_ptr<Backend> backend;
  std::optional<Machine> machine;
  // Of the run at hand.
  Frame frame;
  bool running = false;
  std::vector<char> active;  // one a slot
  std::vector<Record> records;
  std::vector<Value> grads;  // one a slot
};

Tape::Tape(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Tape::~Tape() = default;

absl::StatusOr<std::unique_ptr<Tape>> Tape::Make(const Model& model,
                                                 const std::vector<std::string>& wanted,
                                                 const TapeOptions& options) {
  auto impl = std::make_unique<Impl>(options);
  ASSIGN_OR_RETURN(impl->program, CompileModel(model));
  Program& program = *impl->program;
  for (const Instruction& instruction : program.instructions) {
    impl->rules.push_back(instruction.kind == Instruction::Kind::kOperator
                              ? FindBackward(instruction.node->domain, instruction.node->op_type)
                              : nullptr);
  }
  impl->rule_states.resize(program.instructions.size());
  for (const std::string& name : wanted) {
    int slot = -1;
    bool found = false;
    for (size_t i = 0; i < model.graph->inputs.size(); ++i) {
      if (model.graph->inputs[i].name != name) continue;
      found = true;
      slot = program.inputs[i];
    }
    if (!found) return absl::InvalidArgumentError(absl::StrCat("no input named '", name, "'"));
    impl->wanted_slots.push_back(slot);
  }
  impl->reached.assign(wanted.size(), 0);
  for (const ValueInfo& output : model.graph->outputs) impl->output_names.push_back(output.name);
  return std::unique_ptr<Tape>(new Tape(std::move(impl)));
}

bool Tape::Reaches(size_t i) const { return impl_->reached[i] != 0; }
const std::vector<BlockedNode>& Tape::Blocked() const { return impl_->blocked; }
const std::vector<std::string>& Tape::output_names() const { return impl_->output_names; }
int64_t Tape::peak_bytes() const { return impl_->memory.peak_bytes(); }

absl::StatusOr<Value> Tape::NewValue(Shape dims) {
  const int64_t bytes = ValueBytes(DType::kFloat, dims, Layout::kPlain);
  if (bytes < 0) return absl::InvalidArgumentError("an impossible shape");
  Value out;
  out.kind = Value::Kind::kTensor;
  out.dtype = DType::kFloat;
  out.dims = std::move(dims);
  ASSIGN_OR_RETURN(out.buffer, impl_->memory.Allocate(bytes));
  out.data = out.buffer->data();
  return out;
}

void Tape::Impl::Forget() {
  frame.slots.clear();
  records.clear();
  grads.clear();
  if (running) memory.EndRun();
  running = false;
}

absl::StatusOr<std::vector<Value>> Tape::Forward(const std::map<std::string, Value>& inputs) {
  Impl& impl = *impl_;
  const Program& program = *impl.program;
  impl.Forget();
  std::string key;
  std::vector<Value> ordered(program.inputs.size());
  for (size_t i = 0; i < ordered.size(); ++i) {
    if (program.inputs[i] < 0) continue;
    const ValueInfo& info = program.graph->inputs[i];
    const auto given = inputs.find(info.name);
    if (given == inputs.end()) {
      return absl::InvalidArgumentError(absl::StrCat("input '", info.name, "' is missing"));
    }
    if (given->second.IsTensor() && info.dtype != DType::kUndefined &&
        given->second.dtype != info.dtype) {
      return absl::InvalidArgumentError(absl::StrCat("input '", info.name, "' must be ",
                                                     DTypeName(info.dtype), ", not ",
                                                     Describe(given->second)));
    }
    ordered[i] = given->second;
    absl::StrAppend(&key, Describe(given->second), ";");
  }
  UseCallingThreadAlone();
  impl.machine->Begin();
  impl.memory.BeginRun(key);
  impl.running = true;
  impl.frame = Frame{&program, nullptr, std::vector<Value>(static_cast<size_t>(program.slots))};
  impl.active.assign(static_cast<size_t>(program.slots), 0);
  impl.grads.resize(static_cast<size_t>(program.slots));
  impl.records.resize(program.instructions.size());
  for (size_t i = 0; i < ordered.size(); ++i) {
    if (program.inputs[i] >= 0) impl.frame.slots[program.inputs[i]] = std::move(ordered[i]);
  }
  for (const int slot : impl.wanted_slots) {
    if (slot >= 0) impl.active[slot] = 1;
  }
  for (size_t i = 0; i < program.instructions.size(); ++i) {
    RETURN_IF_ERROR(impl.RunInstruction(i));
  }
  std::vector<Value> outputs;
  for (const ValueRef& ref : program.outputs) {
    outputs.push_back(ref.from == ValueRef::From::kConstant ? program.constants[ref.index]
                                                            : impl.frame.slots[ref.index]);
    if (outputs.back().IsTensor()) {
      ASSIGN_OR_RETURN(outputs.back(), ToPlain(outputs.back(), impl.memory));
    }
  }
  return outputs;
}

absl::Status Tape::Impl::RunInstruction(size_t index) {
  const Instruction& instruction = program->instructions[index];
  if (options.cancelled && index % 16 == 0 && options.cancelled()) {
    return absl::CancelledError("the run was stopped");
  }
  bool is_active = false;
  for (const ValueRef& ref : instruction.inputs) {
    is_active |= ref.from == ValueRef::From::kSlot && ref.depth == 0 && active[ref.index] != 0;
  }
  if (instruction.kind != Instruction::Kind::kOperator) {
    if (is_active) records[index].wanted.assign(instruction.inputs.size(), 0);
    RETURN_IF_ERROR(machine->RunInstruction(instruction, frame));
    if (is_active) {
      for (const int slot : instruction.outputs) {
        if (slot >= 0) active[slot] = 1;
      }
    }
    return absl::OkStatus();
  }
  std::vector<Value> inputs;
  inputs.reserve(instruction.inputs.size());
  for (size_t i = 0; i < instruction.inputs.size(); ++i) {
    const ValueRef& ref = instruction.inputs[i];
    if (ref.from == ValueRef::From::kNone) {
      inputs.emplace_back();
    } else if (ref.from == ValueRef::From::kConstant) {
      inputs.push_back(program->constants[ref.index]);
    } else {
      inputs.push_back(instruction.takes[i] ? std::exchange(frame.slots[ref.index], Value())
                                            : frame.slots[ref.index]);
    }
  }
  // Before it runs: it may work in the memory of an input that nobody else holds.
  std::vector<Value> kept;
  if (is_active) {
    const OpBackward* rule = rules[index];
    for (size_t i = 0; i < inputs.size(); ++i) {
      const bool whole = instruction.inputs[i].from == ValueRef::From::kConstant ||
                         !IsFloatType(inputs[i].dtype) ||
                         (rule != nullptr && i < 32 && (rule->reads_inputs >> i & 1) != 0);
      kept.push_back(whole ? inputs[i] : ShapeOnly(inputs[i]));
    }
  }
  std::vector<Value> outputs(instruction.outputs.size());
  RETURN_IF_ERROR(RunOperator(instruction, inputs, &outputs));
  if (is_active) Remember(index, std::move(kept), outputs);
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (instruction.outputs[i] >= 0) frame.slots[instruction.outputs[i]] = std::move(outputs[i]);
  }
  for (const int slot : instruction.releases) frame.slots[slot] = Value();
  return absl::OkStatus();
}

absl::Status Tape::Impl::RunOperator(const Instruction& instruction, std::vector<Value>& inputs,
                                     std::vector<Value>* outputs) {
  NodeCall call;
  call.node = instruction.node;
  call.opset = instruction.opset;
  call.rule = instruction.rule;
  call.inputs = std::span<Value>(inputs);
  call.constants = instruction.constants;
  call.outputs = std::span<Value>(*outputs);
  call.memory = &memory;
  call.backend = backend.get();
  call.state = &instruction.state;
  call.cancelled = &options.cancelled;
  return RunNode(*instruction.forward, call);
}

void Tape::Impl::Remember(size_t index, std::vector<Value> inputs,
                          const std::vector<Value>& outputs) {
  const Instruction& instruction = program->instructions[index];
  const OpBackward* rule = rules[index];
  const bool integers = rule != nullptr && (rule->flags & kThroughIntegers) != 0;
  if (rule != nullptr && rule->run == nullptr) return;  // its gradients are zero
  Record& record = records[index];
  for (size_t i = 0; i < outputs.size(); ++i) {
    const bool whole = rule != nullptr && i < 32 && (rule->reads_outputs >> i & 1) != 0;
    record.outputs.push_back(whole ? outputs[i] : ShapeOnly(outputs[i]));
    if (instruction.outputs[i] >= 0 && outputs[i].IsTensor() &&
        (integers || IsFloatType(outputs[i].dtype))) {
      active[instruction.outputs[i]] = 1;
    }
  }
  for (const ValueRef& ref : instruction.inputs) {
    record.wanted.push_back(ref.from == ValueRef::From::kSlot && ref.depth == 0 &&
                            active[ref.index] != 0);
  }
  record.inputs = std::move(inputs);
}

absl::Status Tape::Impl::Accumulate(int slot, Value grad) {
  Value& have = grads[slot];
  if (!have.IsTensor()) {
    have = std::move(grad);
    return absl::OkStatus();
  }
  if (have.layout != grad.layout) {
    ASSIGN_OR_RETURN(have, ToPlain(have, memory));
    ASSIGN_OR_RETURN(grad, ToPlain(grad, memory));
  }
  if (!InOwnMemory(have) && InOwnMemory(grad)) std::swap(have, grad);
  const auto count = have.bytes() / static_cast<int64_t>(sizeof(float));
  if (InOwnMemory(have)) {
    float* sum = have.Mutable<float>().data();
    ApplyPair(PairOp::kAdd, sum, 1, grad.As<float>().data(), 1, count, sum);
    return absl::OkStatus();
  }
  Value sum = ShapeOnly(have);
  ASSIGN_OR_RETURN(sum.buffer, memory.Allocate(have.bytes()));
  sum.data = sum.buffer->data();
  ApplyPair(PairOp::kAdd, have.As<float>().data(), 1, grad.As<float>().data(), 1, count,
            sum.Mutable<float>().data());
  have = std::move(sum);
  return absl::OkStatus();
}

// Kept values as rules want them: plain unless they take blocked ones, and float32.
absl::Status Tape::Impl::Prepare(const OpBackward& rule, std::vector<Value>* values) {
  for (Value& value : *values) {
    if (!value.IsTensor() || value.data == nullptr || !IsFloatType(value.dtype)) continue;
    if (value.layout != Layout::kPlain && (rule.flags & kTakesBlockedValues) == 0) {
      ASSIGN_OR_RETURN(value, ToPlain(value, memory));
    }
    if (value.dtype == DType::kFloat) continue;
    ASSIGN_OR_RETURN(value, ConvertFloat(value, DType::kFloat, memory));
  }
  return absl::OkStatus();
}

absl::Status Tape::Impl::StepBack(size_t index) {
  const Instruction& instruction = program->instructions[index];
  Record record = std::move(records[index]);
  records[index] = Record();
  std::vector<Value> output_grads;
  bool any = false;
  for (const int slot : instruction.outputs) {
    output_grads.push_back(slot >= 0 ? std::exchange(grads[slot], Value()) : Value());
    any |= output_grads.back().IsTensor();
  }
  if (!any || record.wanted.empty()) return absl::OkStatus();
  const OpBackward* rule = rules[index];
  if (rule == nullptr) {
    if (blocked_at.insert(index).second) {
      blocked.push_back({instruction.node, "no gradient passes through this operator"});
    }
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(Prepare(*rule, &record.inputs));
  RETURN_IF_ERROR(Prepare(*rule, &record.outputs));
  RETURN_IF_ERROR(Prepare(*rule, &output_grads));
  std::vector<Value> input_grads(record.inputs.size());
  GradCall call;
  call.node = instruction.node;
  call.opset = instruction.opset;
  call.inputs = std::span<Value>(record.inputs);
  call.outputs = std::span<Value>(record.outputs);
  call.output_grads = std::span<Value>(output_grads);
  call.wanted = {reinterpret_cast<const bool*>(record.wanted.data()), record.wanted.size()};
  call.input_grads = std::span<Value>(input_grads);
  call.memory = &memory;
  call.backend = backend.get();
  call.state = &rule_states[index];
  GradContext ctx(call);
  const absl::Status status = rule->run(ctx);
  if (absl::IsUnimplemented(status)) {
    if (blocked_at.insert(index).second) {
      blocked.push_back({instruction.node, std::string(status.message())});
    }
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(status);
  record = Record();
  output_grads.clear();
  for (size_t i = 0; i < input_grads.size(); ++i) {
    if (!input_grads[i].IsTensor()) continue;
    RETURN_IF_ERROR(Accumulate(instruction.inputs[i].index, std::move(input_grads[i])));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Value>> Tape::Backward(std::vector<Value> output_grads) {
  Impl& impl = *impl_;
  const Program& program = *impl.program;
  impl.frame.slots.clear();
  for (size_t i = 0; i < program.outputs.size() && i < output_grads.size(); ++i) {
    const ValueRef& ref = program.outputs[i];
    if (!output_grads[i].IsTensor() || ref.from != ValueRef::From::kSlot) continue;
    RETURN_IF_ERROR(impl.Accumulate(ref.index, std::move(output_grads[i])));
  }
  output_grads.clear();
  for (size_t i = program.instructions.size(); i-- > 0;) {
    if (impl.options.cancelled && i % 16 == 0 && impl.options.cancelled()) {
      return absl::CancelledError("the run was stopped");
    }
    RETURN_IF_ERROR(impl.StepBack(i));
  }
  std::vector<Value> out;
  for (size_t i = 0; i < impl.wanted_slots.size(); ++i) {
    const int slot = impl.wanted_slots[i];
    out.push_back(slot >= 0 ? std::move(impl.grads[slot]) : Value());
    if (!out.back().IsTensor()) continue;
    impl.reached[i] = 1;
    ASSIGN_OR_RETURN(out.back(), ToPlain(out.back(), impl.memory));
  }
  impl.grads.clear();
  impl.memory.EndRun();
  impl.running = false;
  return out;
}

}  // namespace lathe::engine
