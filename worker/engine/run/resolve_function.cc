#include "worker/engine/run/resolve_function.h"

#include <map>
#include <string>
#include <utility>

#include "worker/engine/graph/clone.h"
#include "worker/engine/graph/function_calls.h"
#include "worker/engine/passes/function_body.h"

namespace lathe::engine {
namespace {

struct Attributes {
  const Node& call;
  const std::map<std::string, Attribute>& defaults;

  // nullptr: left out.
  const Attribute* Find(const std::string& name) const {
    if (const Attribute* given = call.FindAttribute(name)) return given;
    const auto fallback = defaults.find(name);
    return fallback == defaults.end() ? nullptr : &fallback->second;
  }
};

std::unique_ptr<Graph> Copy(const Graph& graph, Graph* parent, const Attributes& attributes) {
  std::unique_ptr<Graph> out = CloneShell(graph);
  out->parent = parent;
  for (const auto& node : graph.nodes) {
    std::unique_ptr<Node> copy = CloneShell(*node);
    for (const Attribute& attribute : node->attributes) {
      const std::string referred = ReferredAttribute(attribute);
      if (!referred.empty()) {
        const Attribute* value = attributes.Find(referred);
        if (value == nullptr) continue;
        copy->attributes.push_back(CloneAttribute(*value, out.get()));
        copy->attributes.back().name = attribute.name;
      } else if (!attribute.graphs.empty()) {
        Attribute shell = CloneShell(attribute);
        for (const auto& inner : attribute.graphs) {
          shell.graphs.push_back(Copy(*inner, out.get(), attributes));
        }
        copy->attributes.push_back(std::move(shell));
      } else {
        copy->attributes.push_back(CloneAttribute(attribute, out.get()));
      }
    }
    out->nodes.push_back(std::move(copy));
  }
  return out;
}

}  // namespace

std::unique_ptr<Graph> ResolveFunction(const Function& function, const Node& call) {
  const std::map<std::string, Attribute> defaults = FunctionDefaults(function);
  return Copy(*function.body, nullptr, {call, defaults});
}

}  // namespace lathe::engine
