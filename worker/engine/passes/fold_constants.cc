#include "worker/engine/passes/fold_constants.h"

#include <memory>
#include <utility>
#include <vector>

#include "worker/engine/graph/function_calls.h"
#include "worker/engine/ops/forward/run_node.h"
#include "worker/engine/ops/op_table.h"
#include "worker/engine/passes/graph_view.h"

namespace lathe::engine {
namespace {

class Folder {
 public:
  Folder(Model& model, Backend& backend) : model_(model), backend_(backend) {}

  void Run(Graph& graph) {
    GraphView view(graph);
    for (Node* node : view.Nodes()) Fold(view, node);
    view.Finish();
  }

 private:
  bool MayFold(const GraphView& view, const Node& node) const {
    if (node.Is("Constant") && node.FindAttribute("value") != nullptr) return false;
    const OpForward* forward = FindForward(node.domain, node.op_type);
    if (forward == nullptr || (forward->flags & kRandom) != 0) return false;
    if (FindCallee(model_, node) != nullptr || node.outputs.empty()) return false;
    for (const Attribute& attribute : node.attributes) {
      if (!attribute.graphs.empty() || !attribute.extra.empty()) return false;
    }
    for (const std::string& input : node.inputs) {
      if (!input.empty() && view.Constant(input) == nullptr) return false;
    }
    for (const std::string& output : node.outputs) {
      if (view.graph().IsOutput(output)) return false;
    }
    return true;
  }

  void Fold(GraphView& view, Node* node) {
    if (!MayFold(view, *node)) return;
    std::vector<Value> inputs;
    std::vector<ValueFact> facts;
    facts.reserve(node->inputs.size());
    std::vector<const ValueFact*> constants;
    for (const std::string& input : node->inputs) {
      if (input.empty()) {
        inputs.emplace_back();
        constants.push_back(nullptr);
        continue;
      }
      const Tensor* tensor = view.Constant(input);
      inputs.push_back(Value::FromTensor(*tensor));
      facts.push_back(FactOf(*tensor));
      constants.push_back(&facts.back());
    }
    std::vector<Value> outputs(node->outputs.size());
    std::unique_ptr<NodeState> state;
    ActivationMemory memory(3 * kMaxFoldedBytes);
    memory.BeginRun("");
    NodeCall call;
    call.node = node;
    const auto opset = model_.opset_imports.find(node->domain == "ai.onnx" ? "" : node->domain);
    call.opset = opset == model_.opset_imports.end() ? 0 : opset->second;
    call.rule = FindOpRule(node->domain, node->op_type);
    call.inputs = std::span<Value>(inputs);
    call.constants = constants;
    call.outputs = std::span<Value>(outputs);
    call.memory = &memory;
    call.backend = &backend_;
    call.state = &state;
    if (!RunNode(*FindForward(node->domain, node->op_type), call).ok()) return;
    int64_t bytes = 0;
    for (const Value& output : outputs) {
      if (output.kind == Value::Kind::kNone) continue;
      if (!output.IsTensor() || output.layout != Layout::kPlain) return;
      bytes = SaturatingAdd(bytes, output.bytes());
    }
    if (bytes > kMaxFoldedBytes || bytes > kMaxFoldedBytesInAll - bytes_) return;
    bytes_ += bytes;
    // Its outputs become initializers of the same names.
    const std::vector<std::string> names = node->outputs;
    view.Drop(node);
    for (size_t i = 0; i < names.size(); ++i) {
      if (names[i].empty() || !outputs[i].IsTensor()) continue;
      view.graph().initializers.insert_or_assign(names[i], outputs[i].ToTensor(names[i]));
    }
    memory.EndRun();
  }

  Model& model_;
  Backend& backend_;
  int64_t bytes_ = 0;
};

}  // namespace

void FoldConstants(Model& model, Backend& backend) {
  Folder folder(model, backend);
  // Functions import opsets of their own, and attributes that only the call decides: their bodies
  // stay as they are.
  for (Graph* graph : RewrittenGraphs(model)) folder.Run(*graph);
}

}  // namespace lathe::engine
