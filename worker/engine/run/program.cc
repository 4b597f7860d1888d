#include "worker/engine/run/program.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "common/status_reason.h"
#include "worker/engine/graph/function_calls.h"
#include "worker/engine/graph/scopes.h"
#include "worker/engine/graph/sparse.h"
#include "worker/engine/ops/forward/value_read.h"
#include "worker/engine/run/resolve_function.h"

namespace lathe::engine {
namespace {

using Opsets = std::map<std::string, int64_t>;

constexpr size_t kMaxListed = 10;

class Compiler {
 public:
  explicit Compiler(const Model& model) : model_(model) {}

  absl::StatusOr<std::unique_ptr<Program>> Run() {
    ASSIGN_OR_RETURN(auto program, Compile(*model_.graph, nullptr, model_.opset_imports, 0));
    if (unsupported_.empty()) return program;
    std::string message = absl::StrJoin(unsupported_, "; ");
    if (unsupported_count_ > unsupported_.size()) {
      absl::StrAppend(&message, "; and ", unsupported_count_ - unsupported_.size(), " more");
    }
    return WithReason(absl::UnimplementedError(absl::StrCat("cannot be run: ", message)),
                      "UNSUPPORTED_OP");
  }

 private:
  absl::StatusOr<std::unique_ptr<Program>> Compile(const Graph& graph, const Program* outer,
                                                   const Opsets& opsets, int depth);
  absl::Status AddNode(const Node& node, Program& program, const Opsets& opsets, int depth);
  absl::Status AddBodies(const Node& node, Program& program, const Opsets& opsets, int depth,
                         Instruction& instruction);
  absl::StatusOr<ValueRef> Resolve(const std::string& name, const Program& program,
                                   const Node* reader) const;
  static void AddConstant(const std::string& name, const Tensor& tensor, Program& program);
  static void FindLifetimes(Program& program);
  static void CollectOuterReads(const Program& body, int depth, std::set<int>* slots);
  void Refuse(const Node& node, const std::string& why);

  const Model& model_;
  std::set<std::string> refused_;
  std::vector<std::string> unsupported_;
  size_t unsupported_count_ = 0;
  std::set<const Function*> calls_;
  int64_t nodes_ = 0;
};

void Compiler::Refuse(const Node& node, const std::string& why) {
  ++unsupported_count_;
  if (unsupported_.size() < kMaxListed) {
    unsupported_.push_back(absl::StrCat(DescribeNode(node), " ", why));
  }
}

void Compiler::AddConstant(const std::string& name, const Tensor& tensor, Program& program) {
  program.names[name] = {ValueRef::From::kConstant, 0, static_cast<int>(program.constants.size())};
  program.constants.push_back(Value::FromTensor(tensor));
  program.facts.push_back(FactOf(tensor));
}

absl::StatusOr<ValueRef> Compiler::Resolve(const std::string& name, const Program& program,
                                           const Node* reader) const {
  int depth = 0;
  for (const Program* p = &program; p != nullptr; p = p->outer, ++depth) {
    const auto found = p->names.find(name);
    if (found == p->names.end()) continue;
    ValueRef ref = found->second;
    ref.depth = depth;
    return ref;
  }
  return absl::InvalidArgumentError(
      absl::StrCat(reader == nullptr ? std::string("a graph output") : DescribeNode(*reader),
                   " reads '", name, "', which nothing produces before it"));
}

absl::StatusOr<std::unique_ptr<Program>> Compiler::Compile(const Graph& graph, const Program* outer,
                                                           const Opsets& opsets, int depth) {
  if (depth > 2 * limits::kMaxGraphDepth) {
    return absl::InvalidArgumentError("subgraphs and calls nest too deeply to be run");
  }
  auto program = std::make_unique<Program>();
  program->graph = &graph;
  program->outer = outer;
  program->constants.reserve(graph.initializers.size());
  for (const auto& [name, tensor] : graph.initializers) AddConstant(name, tensor, *program);
  for (const auto& [name, bytes] : graph.sparse_initializers) {
    ASSIGN_OR_RETURN(const Tensor dense, Densify(name, bytes));
    AddConstant(name, dense, *program);
  }
  for (const ValueInfo& input : graph.inputs) {
    if (program->names.count(input.name) != 0) {
      program->inputs.push_back(-1);
      continue;
    }
    program->inputs.push_back(program->slots);
    program->names[input.name] = {ValueRef::From::kSlot, 0, program->slots++};
  }
  program->instructions.reserve(graph.nodes.size());
  for (const auto& node : graph.nodes) {
    if (++nodes_ > limits::kMaxNodes) {
      return absl::InvalidArgumentError("functions call each other too often to be run");
    }
    RETURN_IF_ERROR(AddNode(*node, *program, opsets, depth));
  }
  for (const ValueInfo& output : graph.outputs) {
    ASSIGN_OR_RETURN(ValueRef ref, Resolve(output.name, *program, nullptr));
    program->outputs.push_back(ref);
  }
  // Facts lie still from here on.
  for (Instruction& instruction : program->instructions) {
    for (const ValueRef& ref : instruction.inputs) {
      const Program* level = program.get();
      for (int i = 0; i < ref.depth; ++i) level = level->outer;
      instruction.constants.push_back(
          ref.from == ValueRef::From::kConstant ? &level->facts[ref.index] : nullptr);
    }
  }
  FindLifetimes(*program);
  return program;
}

absl::Status Compiler::AddNode(const Node& node, Program& program, const Opsets& opsets,
                               int depth) {
  if (node.Is("Constant") && node.outputs.size() == 1) {
    const Attribute* value = node.FindAttribute("value");
    if (value != nullptr && value->tensors.size() == 1) {
      AddConstant(node.outputs[0], value->tensors[0], program);
      return absl::OkStatus();
    }
  }
  Instruction instruction;
  instruction.node = &node;
  const auto opset = opsets.find(node.domain == "ai.onnx" ? "" : node.domain);
  instruction.opset = opset == opsets.end() ? 0 : opset->second;
  for (const std::string& input : node.inputs) {
    ValueRef ref;
    if (!input.empty()) {
      ASSIGN_OR_RETURN(ref, Resolve(input, program, &node));
    }
    instruction.inputs.push_back(ref);
  }
  RETURN_IF_ERROR(AddBodies(node, program, opsets, depth, instruction));
  if (instruction.kind == Instruction::Kind::kOperator) {
    instruction.rule = FindOpRule(node.domain, node.op_type);
    instruction.forward = FindForward(node.domain, node.op_type);
    if (instruction.forward == nullptr) {
      Refuse(node, node.domain.empty() || node.domain == "ai.onnx"
                       ? "is an operator that is not supported"
                       : absl::StrCat("is an operator of ", node.domain, " that is not supported"));
    }
  }
  for (const std::string& output : node.outputs) {
    if (output.empty()) {
      instruction.outputs.push_back(-1);
      continue;
    }
    instruction.outputs.push_back(program.slots);
    program.names[output] = {ValueRef::From::kSlot, 0, program.slots++};
  }
  program.instructions.push_back(std::move(instruction));
  return absl::OkStatus();
}

absl::Status Compiler::AddBodies(const Node& node, Program& program, const Opsets& opsets,
                                 int depth, Instruction& instruction) {
  const auto add = [&](const char* name) -> absl::Status {
    const Attribute* attribute = node.FindAttribute(name);
    if (attribute == nullptr || attribute->graphs.size() != 1) {
      return absl::InvalidArgumentError(
          absl::StrCat(DescribeNode(node), " has no graph '", name, "'"));
    }
    ASSIGN_OR_RETURN(auto body, Compile(*attribute->graphs[0], &program, opsets, depth + 1));
    instruction.bodies.push_back(std::move(body));
    return absl::OkStatus();
  };
  if (const Function* function = FindCallee(model_, node)) {
    instruction.kind = Instruction::Kind::kCall;
    if (!calls_.insert(function).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("function ", FunctionName(*function), " calls itself"));
    }
    std::unique_ptr<Graph> resolved = ResolveFunction(*function, node);
    ASSIGN_OR_RETURN(auto body, Compile(*resolved, nullptr, function->opset_imports, depth + 1));
    calls_.erase(function);
    body->resolved = std::move(resolved);
    instruction.bodies.push_back(std::move(body));
    return absl::OkStatus();
  }
  if (node.Is("If")) {
    instruction.kind = Instruction::Kind::kIf;
    RETURN_IF_ERROR(add("then_branch"));
    return add("else_branch");
  }
  if (node.Is("Loop")) {
    instruction.kind = Instruction::Kind::kLoop;
    return add("body");
  }
  if (node.Is("Scan")) {
    instruction.kind = Instruction::Kind::kScan;
    return add("body");
  }
  return absl::OkStatus();
}

void Compiler::CollectOuterReads(const Program& body, int depth, std::set<int>* slots) {
  const auto see = [&](const ValueRef& ref) {
    if (ref.from == ValueRef::From::kSlot && ref.depth == depth) slots->insert(ref.index);
  };
  for (const Instruction& instruction : body.instructions) {
    for (const ValueRef& ref : instruction.inputs) see(ref);
    for (const auto& inner : instruction.bodies) {
      // A function's body sees nothing of its caller.
      if (inner->outer != nullptr) CollectOuterReads(*inner, depth + 1, slots);
    }
  }
  for (const ValueRef& ref : body.outputs) see(ref);
}

void Compiler::FindLifetimes(Program& program) {
  std::vector<bool> needed(static_cast<size_t>(program.slots), false);
  for (const ValueRef& ref : program.outputs) {
    if (ref.from == ValueRef::From::kSlot && ref.depth == 0) needed[ref.index] = true;
  }
  for (auto it = program.instructions.rbegin(); it != program.instructions.rend(); ++it) {
    Instruction& instruction = *it;
    std::set<int> inner;
    for (const auto& body : instruction.bodies) {
      if (body->outer != nullptr) CollectOuterReads(*body, 1, &inner);
    }
    instruction.takes.assign(instruction.inputs.size(), false);
    for (const int slot : inner) {
      if (needed[slot]) continue;
      needed[slot] = true;
      instruction.releases.push_back(slot);
    }
    // From the back, so that of several readers in one node the last takes it.
    for (size_t i = instruction.inputs.size(); i-- > 0;) {
      const ValueRef& ref = instruction.inputs[i];
      if (ref.from != ValueRef::From::kSlot || ref.depth != 0 || needed[ref.index]) continue;
      needed[ref.index] = true;
      instruction.takes[i] = true;
    }
    // An output that nobody reads goes at once.
    for (const int slot : instruction.outputs) {
      if (slot >= 0 && !needed[slot]) instruction.releases.push_back(slot);
    }
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<Program>> CompileModel(const Model& model) {
  return Compiler(model).Run();
}

}  // namespace lathe::engine
