#include "worker/engine/train/scores.h"

#include <string>

namespace lathe::engine {
namespace {

const Node* LastNode(const Model& model, size_t output) {
  const Graph& graph = *model.graph;
  if (output >= graph.outputs.size()) return nullptr;
  const std::string& name = graph.outputs[output].name;
  for (const auto& node : graph.nodes) {
    if (!node->outputs.empty() && node->outputs[0] == name) return node.get();
  }
  return nullptr;
}

bool IsProbability(const Node& node) {
  return node.Is("Softmax") || node.Is("LogSoftmax") || node.Is("Sigmoid");
}

}  // namespace

bool EndsInProbabilities(const Model& model, size_t output) {
  const Node* node = LastNode(model, output);
  return node != nullptr && IsProbability(*node);
}

bool ExposeScores(Model& model, size_t output) {
  const Node* node = LastNode(model, output);
  if (node == nullptr || !IsProbability(*node)) return false;
  ValueInfo& info = model.graph->outputs[output];
  info.name = node->inputs[0];
  info.modified = true;
  info.original.clear();
  return true;
}

size_t FirstFloatOutput(const Model& model) {
  const auto& outputs = model.graph->outputs;
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (outputs[i].dtype == DType::kFloat) return i;
  }
  return 0;
}

}  // namespace lathe::engine
