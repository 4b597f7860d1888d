#include "worker/engine/ops/value_readers.h"

#include <vector>

namespace lathe::engine {

const ValueReaders::Index& ValueReaders::IndexOf(const Graph& graph) {
  const auto [slot, fresh] = indices_.try_emplace(&graph);
  Index& index = slot->second;
  if (!fresh) return index;
  std::vector<const Graph*> open = {&graph};
  while (!open.empty()) {
    const Graph* at = open.back();
    open.pop_back();
    for (const ValueInfo& output : at->outputs) ++index[output.name].count;
    for (const auto& node : at->nodes) {
      for (const std::string& input : node->inputs) {
        Readers& readers = index[input];
        ++readers.count;
        readers.last = at == &graph ? node.get() : nullptr;
      }
      for (const Attribute& attribute : node->attributes) {
        for (const auto& sub : attribute.graphs) open.push_back(sub.get());
      }
    }
  }
  return index;
}

bool ValueReaders::IsQuantizedAtOnce(const Graph& graph, const std::string& value) {
  const Index& index = IndexOf(graph);
  const std::string* at = &value;
  for (const bool may_be_clipped : {true, false}) {
    const auto found = index.find(*at);
    if (found == index.end() || found->second.count != 1) return false;
    const Node* reader = found->second.last;
    if (reader == nullptr || reader->inputs[0] != *at) return false;
    if (reader->Is("QuantizeLinear")) return true;
    if (!may_be_clipped || !(reader->Is("Relu") || reader->Is("Clip"))) return false;
    if (reader->outputs.empty()) return false;
    at = &reader->outputs[0];
  }
  return false;
}

}  // namespace lathe::engine
