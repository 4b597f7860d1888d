#include "worker/engine/ops/graph_walker.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "worker/engine/graph/clone.h"
#include "worker/engine/graph/function_calls.h"
#include "worker/engine/graph/scopes.h"
#include "worker/engine/graph/sparse.h"

namespace lathe::engine {
namespace {

// Lists of the report stay readable.
constexpr size_t kMaxListed = 50;

bool IsView(const Node& node) {
  for (const char* op : {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Constant",
                         "Shape", "Size", "Dropout"}) {
    if (node.Is(op)) return true;
  }
  return false;
}

// The node with attributes that refer to the call's replaced by those; nullptr when it has none.
std::unique_ptr<Node> Resolved(const Node& node, const Node& call, Graph* graph) {
  const bool refers =
      std::any_of(node.attributes.begin(), node.attributes.end(),
                  [](const Attribute& attribute) { return !ReferredAttribute(attribute).empty(); });
  if (!refers) return nullptr;
  std::unique_ptr<Node> copy = CloneShell(node);
  for (const Attribute& attribute : node.attributes) {
    const std::string referred = ReferredAttribute(attribute);
    if (referred.empty()) {
      copy->attributes.push_back(CloneAttribute(attribute, graph));
    } else if (const Attribute* value = call.FindAttribute(referred)) {
      copy->attributes.push_back(CloneAttribute(*value, graph));
      copy->attributes.back().name = attribute.name;
    }
  }
  return copy;
}

}  // namespace

void WalkCost::Add(const WalkCost& other, int64_t times) {
  macs.Add(other.macs, times);
  activation_bytes = SaturatingAdd(activation_bytes, SaturatingMul(other.activation_bytes, times));
}

GraphWalker::GraphWalker(const Model& model, const Bindings& bindings)
    : model_(model), given_(bindings), budget_(limits::kMaxNodes) {}

Inference GraphWalker::Run() {
  Scope scope;
  scope.graph = model_.graph.get();
  scope.opsets = &model_.opset_imports;
  scope.facts = &result_.values[scope.graph];
  for (const ValueInfo& input : model_.graph->inputs) {
    if (model_.graph->initializers.count(input.name) != 0) continue;
    (*scope.facts)[input.name] = Declared(input, true);
  }
  const WalkCost cost = Walk(scope);
  result_.macs = cost.macs;
  result_.activation_bytes = cost.activation_bytes;
  for (const auto& [name, size] : given_) {
    if (used_.count(name) == 0) result_.unused_bindings.push_back(name);
  }
  return std::move(result_);
}

void GraphWalker::Note(std::vector<std::string>* list, std::string text) {
  if (list->size() > kMaxListed || !noted_.insert(text).second) return;
  if (list->size() == kMaxListed) text = "... and more";
  list->push_back(std::move(text));
}

ValueFact GraphWalker::Declared(const ValueInfo& info, bool is_input) {
  ValueFact fact;
  fact.dtype = info.dtype;
  if (info.dtype == DType::kUndefined || !info.dims) return fact;
  for (size_t axis = 0; axis < info.dims->size(); ++axis) {
    const Dim& dim = (*info.dims)[axis];
    if (dim.value && *dim.value >= 0) {
      fact.dims.push_back(*dim.value);
      continue;
    }
    // An intermediate value's unnamed dimension has no name that a caller could bind.
    std::string symbol = dim.symbol;
    if (symbol.empty() && is_input) symbol = absl::StrCat(info.name, "[", axis, "]");
    const auto given = given_.find(symbol);
    const int64_t extent = given == given_.end() ? 1 : given->second;
    fact.dims.push_back(extent);
    if (given != given_.end()) used_.insert(symbol);
    if (!is_input) continue;
    if (result_.bindings.emplace(symbol, extent).second && given == given_.end()) {
      result_.assumed_bindings.push_back(symbol);
    }
  }
  fact.ranked = IsPlausible(fact.dims);
  if (!fact.ranked) fact.dims.clear();
  return fact;
}

const ValueFact* GraphWalker::Lookup(const Scope& scope, const std::string& value) {
  for (const Scope* s = &scope; s != nullptr; s = s->outer) {
    const auto found = s->facts->find(value);
    if (found != s->facts->end()) return &found->second;
    const auto constant = s->graph->initializers.find(value);
    if (constant != s->graph->initializers.end()) {
      return &s->facts->emplace(value, FactOf(constant->second)).first->second;
    }
    const auto sparse = s->graph->sparse_initializers.find(value);
    if (sparse == s->graph->sparse_initializers.end()) continue;
    const SparseShape shape = ReadSparseShape(sparse->second);
    ValueFact fact;
    fact.dtype = shape.dtype;
    fact.dims = shape.dims;
    fact.ranked = IsPlausible(fact.dims);
    fact.constant = true;
    fact.stored_bytes = static_cast<int64_t>(sparse->second.size());
    return &s->facts->emplace(value, std::move(fact)).first->second;
  }
  return nullptr;
}

std::vector<const ValueFact*> GraphWalker::Inputs(const Scope& scope, const Node& node) {
  static const ValueFact unknown;
  std::vector<const ValueFact*> facts;
  for (const std::string& input : node.inputs) {
    if (input.empty()) {
      facts.push_back(nullptr);
      continue;
    }
    // References to the values of an unordered_map stay valid while it grows.
    const ValueFact* fact = Lookup(scope, input);
    facts.push_back(fact == nullptr ? &unknown : fact);
  }
  return facts;
}

void GraphWalker::Store(const Scope& scope, const Node& node, std::vector<ValueFact> facts) {
  for (size_t i = 0; i < node.outputs.size(); ++i) {
    const std::string& name = node.outputs[i];
    if (name.empty()) continue;
    ValueFact fact = i < facts.size() ? std::move(facts[i]) : ValueFact();
    if (fact.ranked && !IsPlausible(fact.dims)) fact = ValueFact();
    if (!fact.ranked) {
      const bool constant = fact.constant;
      if (const auto info = scope.graph->value_infos.find(name);
          info != scope.graph->value_infos.end()) {
        fact = Declared(info->second, false);
      } else {
        for (const ValueInfo& output : scope.graph->outputs) {
          if (output.name == name) fact = Declared(output, false);
        }
      }
      fact.constant = constant;
    }
    (*scope.facts)[name] = std::move(fact);
  }
}

WalkCost GraphWalker::Walk(const Scope& scope) {
  WalkCost cost;
  for (const auto& node : scope.graph->nodes) {
    if (--budget_ < 0) {
      Note(&result_.macs_incomplete, "functions call each other too often to be followed");
      break;
    }
    const std::unique_ptr<Node> resolved =
        scope.call == nullptr ? nullptr : Resolved(*node, *scope.call, nullptr);
    cost.Add(Visit(scope, resolved ? *resolved : *node, *node), 1);
    if (!resolved) continue;
    for (const Attribute& attribute : resolved->attributes) {
      for (const auto& graph : attribute.graphs) result_.values.erase(graph.get());
    }
  }
  return cost;
}

WalkCost GraphWalker::Visit(const Scope& scope, const Node& node, const Node& original) {
  WalkCost cost;
  if (const Function* function = FindCallee(model_, node)) {
    VisitCall(scope, node, *function, &cost);
  } else if (node.Is("If")) {
    VisitIf(scope, node, &cost);
  } else if (node.Is("Loop")) {
    VisitLoop(scope, node, &cost);
  } else if (node.Is("Scan")) {
    VisitScan(scope, node, &cost);
  } else {
    VisitOperator(scope, node, original, &cost);
  }
  return cost;
}

void GraphWalker::VisitOperator(const Scope& scope, const Node& node, const Node& original,
                                WalkCost* cost) {
  const auto opset = scope.opsets->find(node.domain == "ai.onnx" ? "" : node.domain);
  OpContext ctx(node, opset == scope.opsets->end() ? 0 : opset->second, Inputs(scope, node));
  const OpRule* rule = FindOpRule(node.domain, node.op_type);
  bool inputs_known = true;
  bool constant = true;
  for (size_t i = 0; i < ctx.input_count(); ++i) {
    if (!ctx.Has(i)) continue;
    inputs_known = inputs_known && ctx.In(i).ranked;
    constant = constant && ctx.In(i).constant;
  }
  if (node.inputs.empty() && !node.Is("Constant")) constant = false;
  if (rule == nullptr) {
    // Operators without MACs among the unknown are the rule, but nobody can tell which they are.
    Note(&result_.macs_incomplete,
         absl::StrCat(DescribeNode(node), ": ",
                      node.domain.empty() ? "" : absl::StrCat(node.domain, "."), node.op_type,
                      " is not an operator whose cost is known"));
    Store(scope, node, {});
    return;
  }
  if (!rule->infer(ctx) && inputs_known) {
    Note(&result_.shape_unknown,
         absl::StrCat(DescribeNode(node),
                      ": its inputs do not fit together with these sizes of dimensions, or its "
                      "output's shape depends on data"));
  }
  if (!ctx.assumption().empty() && !constant) {
    Note(&result_.assumptions, absl::StrCat(DescribeNode(node), ": ", ctx.assumption()));
  }
  for (size_t i = 0; i < ctx.output_count(); ++i) {
    ValueFact& out = ctx.outputs()[i];
    out.constant = constant;
    if (out.ranked && !IsPlausible(out.dims)) out = ValueFact();
  }
  if (rule->macs != nullptr && !constant) {
    // An output that a declaration knows better.
    if (ctx.output_count() > 0 && !ctx.Out(0).ranked) Store(scope, node, ctx.outputs());
    if (ctx.output_count() > 0 && !ctx.Out(0).ranked) {
      if (const ValueFact* stored = Lookup(scope, node.outputs[0])) ctx.outputs()[0] = *stored;
    }
    if (const auto macs = rule->macs(ctx)) {
      cost->macs.Add(*macs);
      result_.node_macs[&original] = *macs;
    } else {
      Note(&result_.macs_incomplete,
           absl::StrCat(DescribeNode(node), ": the shapes of its operands are not known"));
    }
  }
  CountTraffic(scope, node, ctx, constant, cost);
  Store(scope, node, std::move(ctx.outputs()));
}

void GraphWalker::CountTraffic(const Scope& scope, const Node& node, const OpContext& ctx,
                               bool constant, WalkCost* cost) {
  const bool view = IsView(node) || constant;
  for (size_t i = 0; i < ctx.input_count(); ++i) {
    if (!ctx.Has(i)) continue;
    const ValueFact& in = ctx.In(i);
    const bool table = i == 0 && (node.Is("Gather") || node.op_type == "GatherBlockQuantized") &&
                       ctx.output_count() > 0 && ctx.Out(0).ranked;
    if (in.stored_bytes >= 0) {
      // A table is read row by row, in its own type.
      const int64_t rows = table && in.size() > 0
                               ? static_cast<int64_t>(static_cast<double>(ctx.Out(0).size()) *
                                                      static_cast<double>(in.stored_bytes) /
                                                      static_cast<double>(in.size()))
                               : in.stored_bytes;
      CountStored(scope, node.inputs[i], std::min(rows, in.stored_bytes));
    } else if (!in.constant && !view) {
      cost->activation_bytes =
          SaturatingAdd(cost->activation_bytes, table ? ctx.Out(0).bytes() : in.bytes());
    }
  }
  if (view) return;
  for (size_t i = 0; i < ctx.output_count(); ++i) {
    cost->activation_bytes = SaturatingAdd(cost->activation_bytes, ctx.Out(i).bytes());
  }
}

void GraphWalker::CountStored(const Scope& scope, const std::string& value, int64_t bytes) {
  const Scope* owner = &scope;
  while (owner != nullptr && owner->facts->count(value) == 0) owner = owner->outer;
  if (owner == nullptr || !read_constants_.emplace(owner->graph, value).second) return;
  result_.constant_bytes = SaturatingAdd(result_.constant_bytes, bytes);
}

}  // namespace lathe::engine
