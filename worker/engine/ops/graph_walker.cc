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

std::string OpName(const Node& node) {
  const bool onnx = node.domain.empty() || node.domain == "ai.onnx";
  return onnx ? node.op_type : absl::StrCat(node.domain, ".", node.op_type);
}

// Bytes of so many elements of a value.
int64_t BytesOf(const ValueFact& fact, int64_t elements, bool in_eight_bits) {
  if (in_eight_bits) return elements;
  if (elements == fact.size()) return fact.bytes();
  return DTypeBytes(fact.dtype, elements).value_or(0);
}

// What one execution moves, and adds the shares of constants that it reads to `shares`. `macs` are
// the node's, where it does some.
//
// Runtimes fuse what quantizes and dequantizes activations into the operators beside it: a value
// that was just dequantized counts in 8 bits, and DequantizeLinear itself moves nothing; a product
// in 8 bits hands its result to QuantizeLinear in registers. A constant that was dequantized counts
// in 8 bits where the arithmetic is in 8 bits, and as floats where they are multiplied.
BytesMoved CountBytes(const OpRule& rule, const OpContext& ctx, const std::optional<MacCount>& macs,
                      std::vector<std::pair<int64_t, double>>* shares) {
  BytesMoved moved;
  const bool eight_bits = macs && macs->type == MacType::kInt8;
  const bool fused =
      ctx.output_count() > 0 && ctx.Out(0).dequantized && ctx.node().Is("DequantizeLinear");
  for (size_t i = 0; i < ctx.input_count(); ++i) {
    if (!ctx.Has(i)) continue;
    const ValueFact& in = ctx.In(i);
    const int64_t all = in.size();
    const int64_t elements =
        rule.traffic.reads == nullptr || !in.ranked ? all : rule.traffic.reads(ctx, i);
    if (in.constant) {
      const bool reads = elements > 0 || (rule.traffic.reads == nullptr && all == 0);
      if (reads) shares->emplace_back(in.constant_id, all > 0 ? double(elements) / double(all) : 1);
      moved.constants_read =
          SaturatingAdd(moved.constants_read, BytesOf(in, elements, eight_bits && in.dequantized));
    } else if (!fused && !in.in_registers) {
      moved.activations_read =
          SaturatingAdd(moved.activations_read, BytesOf(in, elements, in.dequantized));
    }
  }
  if (fused || !rule.traffic.writes) return moved;
  for (size_t i = 0; i < ctx.output_count(); ++i) {
    const ValueFact& out = ctx.Out(i);
    if (out.in_registers) continue;
    moved.activations_written =
        SaturatingAdd(moved.activations_written, BytesOf(out, out.size(), out.dequantized));
  }
  return moved;
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

OperatorCost WalkCost::Total() const {
  OperatorCost total;
  for (const auto& [op, cost] : by_op) total.Add(cost, 1);
  return total;
}

void WalkCost::Add(const WalkCost& other, int64_t times) {
  for (const auto& [op, cost] : other.by_op) by_op[op].Add(cost, times);
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
  WalkCost cost;
  Walk(scope, &cost);
  result_.total = cost.Total();
  result_.by_op = std::move(cost.by_op);
  for (const auto& [op, bytes] : result_.stored_bytes_by_op) {
    result_.stored_bytes = SaturatingAdd(result_.stored_bytes, bytes);
  }
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
      ValueFact fact = FactOf(constant->second);
      fact.constant_id = constants_.Stored(&constant->second, fact.stored_bytes);
      return &s->facts->emplace(value, std::move(fact)).first->second;
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
    fact.constant_id = constants_.Stored(&sparse->second, fact.stored_bytes);
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
      const int64_t constant_id = fact.constant_id;
      if (const auto info = scope.graph->value_infos.find(name);
          info != scope.graph->value_infos.end()) {
        fact = Declared(info->second, false);
      } else {
        for (const ValueInfo& output : scope.graph->outputs) {
          if (output.name == name) fact = Declared(output, false);
        }
      }
      fact.constant = constant;
      fact.constant_id = constant_id;
    }
    (*scope.facts)[name] = std::move(fact);
  }
}

void GraphWalker::Walk(const Scope& scope, WalkCost* cost) {
  for (const auto& node : scope.graph->nodes) {
    if (--budget_ < 0) {
      Note(&result_.macs_incomplete, "functions call each other too often to be followed");
      break;
    }
    const std::unique_ptr<Node> resolved =
        scope.call == nullptr ? nullptr : Resolved(*node, *scope.call, nullptr);
    Visit(scope, resolved ? *resolved : *node, *node, cost);
    if (!resolved) continue;
    for (const Attribute& attribute : resolved->attributes) {
      for (const auto& graph : attribute.graphs) result_.values.erase(graph.get());
    }
  }
}

void GraphWalker::Visit(const Scope& scope, const Node& node, const Node& original,
                        WalkCost* cost) {
  if (const Function* function = FindCallee(model_, node)) {
    VisitCall(scope, node, *function, cost);
  } else if (node.Is("If")) {
    VisitIf(scope, node, cost);
  } else if (node.Is("Loop")) {
    VisitLoop(scope, node, cost);
  } else if (node.Is("Scan")) {
    VisitScan(scope, node, cost);
  } else {
    VisitOperator(scope, node, original, cost);
  }
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
  if (constant) {
    NumberConstant(ctx, original);
  } else {
    CountOperator(scope, node, original, *rule, ctx, cost);
  }
  Store(scope, node, std::move(ctx.outputs()));
}

void GraphWalker::NumberConstant(OpContext& ctx, const Node& original) {
  int64_t id = 0;
  if (ctx.node().inputs.empty()) {
    const int64_t bytes = ctx.output_count() > 0 ? ctx.Out(0).stored_bytes : 0;
    id = constants_.Stored(&original, bytes);
  } else {
    std::vector<int64_t> from;
    for (size_t i = 0; i < ctx.input_count(); ++i) {
      if (ctx.In(i).constant_id != 0) from.push_back(ctx.In(i).constant_id);
    }
    id = constants_.Computed(std::move(from));
  }
  for (ValueFact& out : ctx.outputs()) out.constant_id = id;
}

void GraphWalker::CountOperator(const Scope& scope, const Node& node, const Node& original,
                                const OpRule& rule, OpContext& ctx, WalkCost* cost) {
  OperatorCost once;
  once.runs = 1;
  // An output that a declaration knows better.
  if (ctx.output_count() > 0 && !ctx.Out(0).ranked) {
    Store(scope, node, ctx.outputs());
    if (const ValueFact* stored = Lookup(scope, node.outputs[0])) ctx.outputs()[0] = *stored;
  }
  std::optional<MacCount> macs;
  if (rule.macs != nullptr) {
    macs = rule.macs(ctx);
    if (macs) {
      once.macs.Add(*macs);
    } else {
      Note(&result_.macs_incomplete,
           absl::StrCat(DescribeNode(node), ": the shapes of its operands are not known"));
    }
  }
  if (ctx.output_count() > 0 && !node.outputs[0].empty()) {
    const bool clipped = ctx.In(0).in_registers && (node.Is("Relu") || node.Is("Clip"));
    const bool product = macs && macs->type == MacType::kInt8 && IsFloat(ctx.Out(0).dtype);
    ctx.outputs()[0].in_registers =
        (clipped || product) && readers_.IsQuantizedAtOnce(*scope.graph, node.outputs[0]);
  }
  std::vector<std::pair<int64_t, double>> shares;
  once.moved = CountBytes(rule, ctx, macs, &shares);
  const std::string op = OpName(node);
  for (const auto& [constant, share] : shares) {
    const int64_t bytes = constants_.Read(constant, share);
    if (bytes == 0) continue;
    int64_t& slot = result_.stored_bytes_by_op[op];
    slot = SaturatingAdd(slot, bytes);
  }
  cost->by_op[op].Add(once, 1);
  // What a node costs is told of it where all of that is known.
  if (rule.macs == nullptr || macs) result_.node_costs[&original] = once;
}

}  // namespace lathe::engine
