#include "worker/engine/graph/function_parameters.h"

#include <algorithm>
#include <set>

#include "worker/engine/graph/function_calls.h"
#include "worker/engine/graph/weighted_ops.h"

namespace lathe::engine {
namespace {

bool TakesConstant(const Model& model, const ScopeIndex& index, Tracer& tracer,
                   const Definition& parameter, std::set<const Definition*>& seen) {
  if (!seen.insert(&parameter).second) return false;
  const Function* function = FunctionOfBody(model, parameter.graph);
  if (function == nullptr) return false;
  if (parameter.kind != Definition::Kind::kFormal) return true;
  const std::vector<ValueInfo>& formals = function->body->inputs;
  const size_t position =
      std::find_if(formals.begin(), formals.end(),
                   [&parameter](const ValueInfo& info) { return info.name == parameter.name; }) -
      formals.begin();
  for (const ScopeIndex::Place& place : index.nodes()) {
    if (place.node->op_type != function->name || FindCallee(model, *place.node) != function) {
      continue;
    }
    if (position >= place.node->inputs.size()) continue;
    const Origin origin = tracer.Trace(place.graph, place.node->inputs[position]);
    if (origin.kind == Origin::Kind::kNone) continue;
    if (origin.kind != Origin::Kind::kFormal ||
        TakesConstant(model, index, tracer, *origin.source, seen)) {
      return true;
    }
  }
  return false;
}

}  // namespace

const Function* FunctionOfBody(const Model& model, const Graph* graph) {
  for (const Function& function : model.functions) {
    if (function.body.get() == graph) return &function;
  }
  return nullptr;
}

bool TakesConstant(const Model& model, const ScopeIndex& index, Tracer& tracer,
                   const Definition& parameter) {
  std::set<const Definition*> seen;
  return TakesConstant(model, index, tracer, parameter, seen);
}

std::vector<const Function*> FunctionsWithWeightParameters(const Model& model) {
  std::vector<const Function*> found;
  if (model.functions.empty()) return found;
  const ScopeIndex index(model);
  Tracer tracer(index);
  std::set<const Function*> with;
  std::set<const Definition*> asked;  // a parameter may feed many operators
  for (const ScopeIndex::Place& place : index.nodes()) {
    for (const WeightSlot& slot : WeightSlots(*place.node)) {
      if (slot.input >= static_cast<int>(place.node->inputs.size())) continue;
      if (slot.role == WeightRole::kEmbedding && place.node->IntAttribute("axis", 0) != 0) continue;
      const Origin origin = tracer.Trace(place.graph, place.node->inputs[slot.input]);
      if (origin.kind != Origin::Kind::kFormal) continue;
      const Function* function = FunctionOfBody(model, origin.source->graph);
      if (function == nullptr || with.contains(function)) continue;
      if (!asked.insert(origin.source).second) continue;
      if (TakesConstant(model, index, tracer, *origin.source)) with.insert(function);
    }
  }
  for (const Function& function : model.functions) {
    if (with.contains(&function)) found.push_back(&function);
  }
  return found;
}

}  // namespace lathe::engine
