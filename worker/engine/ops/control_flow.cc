// Operators that hold graphs, and calls of functions.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "worker/engine/graph/function_calls.h"
#include "worker/engine/graph/scopes.h"
#include "worker/engine/ops/graph_walker.h"

namespace lathe::engine {
namespace {

// Loops whose trip count is a constant beyond this are taken for "until the condition ends".
constexpr int64_t kMaxTrips = int64_t{1} << 31;

const Graph* Subgraph(const Node& node, const char* name) {
  const Attribute* attribute = node.FindAttribute(name);
  return attribute != nullptr && attribute->graphs.size() == 1 ? attribute->graphs[0].get()
                                                               : nullptr;
}

// Shape and type, without the values.
ValueFact Varying(const ValueFact* fact) {
  ValueFact out;
  if (fact == nullptr) return out;
  out.dtype = fact->dtype;
  out.ranked = fact->ranked;
  out.dims = fact->dims;
  return out;
}

}  // namespace

std::vector<ValueFact> GraphWalker::WalkBody(const Scope& scope, const Graph& body,
                                             std::vector<ValueFact> inputs, WalkCost* cost) {
  Scope inner = scope;
  inner.graph = &body;
  inner.outer = &scope;
  inner.facts = &result_.values[&body];
  inner.depth = scope.depth + 1;
  inner.facts->clear();
  for (size_t i = 0; i < body.inputs.size(); ++i) {
    ValueFact fact = i < inputs.size() ? std::move(inputs[i]) : ValueFact();
    if (!fact.ranked) fact = Declared(body.inputs[i], false);
    (*inner.facts)[body.inputs[i].name] = std::move(fact);
  }
  if (inner.depth <= 2 * limits::kMaxGraphDepth) {
    Walk(inner, cost);
  } else {
    Note(&result_.macs_incomplete, "subgraphs and calls nest too deeply to be followed");
  }
  std::vector<ValueFact> outputs;
  for (const ValueInfo& output : body.outputs) {
    const ValueFact* fact = Lookup(inner, output.name);
    outputs.push_back(fact == nullptr || !fact->ranked ? Declared(output, false) : *fact);
  }
  return outputs;
}

void GraphWalker::VisitIf(const Scope& scope, const Node& node, WalkCost* cost) {
  const Graph* yes = Subgraph(node, "then_branch");
  const Graph* no = Subgraph(node, "else_branch");
  if (yes == nullptr || no == nullptr) return Store(scope, node, {});
  const std::vector<const ValueFact*> inputs = Inputs(scope, node);
  const bool known =
      !inputs.empty() && inputs[0] != nullptr && inputs[0]->known && inputs[0]->ints.size() == 1;
  if (known) {
    const Graph& taken = inputs[0]->ints[0] != 0 ? *yes : *no;
    return Store(scope, node, WalkBody(scope, taken, {}, cost));
  }
  WalkCost yes_cost;
  WalkCost no_cost;
  std::vector<ValueFact> facts = WalkBody(scope, *yes, {}, &yes_cost);
  const std::vector<ValueFact> others = WalkBody(scope, *no, {}, &no_cost);
  const int64_t yes_macs = yes_cost.Total().macs.total();
  const int64_t no_macs = no_cost.Total().macs.total();
  cost->Add(yes_macs >= no_macs ? yes_cost : no_cost, 1);
  if (yes_macs != no_macs) {
    Note(&result_.assumptions, absl::StrCat(DescribeNode(node),
                                            ": which branch runs depends on the data; the one with "
                                            "more multiply-accumulates is counted"));
  }
  for (size_t i = 0; i < facts.size(); ++i) {
    const bool differ = i < others.size() && others[i].ranked && others[i].dims != facts[i].dims;
    if (!facts[i].ranked && i < others.size()) facts[i] = others[i];
    if (differ && facts[i].ranked) {
      Note(&result_.assumptions, absl::StrCat(DescribeNode(node),
                                              ": its branches give different shapes; the then "
                                              "branch's is assumed"));
    }
    facts[i] = Varying(&facts[i]);
  }
  Store(scope, node, std::move(facts));
}

// Inputs: trip count, condition, carried values. Body: iteration, condition, carried values ->
// condition, carried values, scanned values.
void GraphWalker::VisitLoop(const Scope& scope, const Node& node, WalkCost* cost) {
  const Graph* body = Subgraph(node, "body");
  if (body == nullptr) return Store(scope, node, {});
  const std::vector<const ValueFact*> inputs = Inputs(scope, node);
  int64_t trips = 1;
  bool known = false;
  if (!inputs.empty() && inputs[0] != nullptr && inputs[0]->known && inputs[0]->ints.size() == 1) {
    const int64_t given = inputs[0]->ints[0];
    known = given >= 0 && given < kMaxTrips;
    if (known) trips = given;
  }
  if (!known) {
    Note(&result_.assumptions, absl::StrCat(DescribeNode(node),
                                            ": how often it runs depends on the data; one "
                                            "iteration assumed"));
  }
  std::vector<ValueFact> facts(2);
  facts[0].dtype = DType::kInt64;
  facts[0].ranked = true;
  facts[1].dtype = DType::kBool;
  facts[1].ranked = true;
  for (size_t i = 2; i < inputs.size(); ++i) facts.push_back(Varying(inputs[i]));
  WalkCost once;
  const std::vector<ValueFact> results = WalkBody(scope, *body, std::move(facts), &once);
  cost->Add(once, trips);
  const size_t carried = inputs.size() < 2 ? 0 : inputs.size() - 2;
  std::vector<ValueFact> outputs;
  for (size_t i = 1; i < results.size(); ++i) {
    ValueFact fact = Varying(&results[i]);
    if (i > carried && fact.ranked) fact.dims.insert(fact.dims.begin(), trips);
    outputs.push_back(std::move(fact));
  }
  Store(scope, node, std::move(outputs));
}

// Inputs: states, then scanned values, cut along an axis. Body: states, one slice each -> states,
// slices of the outputs.
void GraphWalker::VisitScan(const Scope& scope, const Node& node, WalkCost* cost) {
  const Graph* body = Subgraph(node, "body");
  const auto opset = scope.opsets->find("");
  const auto scanned = static_cast<size_t>(
      std::clamp<int64_t>(node.IntAttribute("num_scan_inputs", 0), 0, int64_t{1} << 20));
  if (body == nullptr || opset == scope.opsets->end() || opset->second < 9 ||
      scanned > node.inputs.size()) {
    Note(&result_.macs_incomplete,
         absl::StrCat(DescribeNode(node), ": this form of Scan is not followed"));
    return Store(scope, node, {});
  }
  const std::vector<const ValueFact*> inputs = Inputs(scope, node);
  const size_t states = inputs.size() - scanned;
  const std::vector<int64_t> axes = node.IntsAttribute("scan_input_axes");
  int64_t trips = -1;
  std::vector<ValueFact> facts;
  for (size_t i = 0; i < inputs.size(); ++i) {
    ValueFact fact = Varying(inputs[i]);
    if (i >= states && fact.ranked) {
      const int64_t given = i - states < axes.size() ? axes[i - states] : 0;
      const auto axis = NormalAxis(given, static_cast<int64_t>(fact.dims.size()));
      if (axis) {
        trips = fact.dims[*axis];
        fact.dims.erase(fact.dims.begin() + *axis);
      } else {
        fact = ValueFact();
      }
    }
    facts.push_back(std::move(fact));
  }
  if (trips < 0) {
    trips = 1;
    Note(&result_.assumptions,
         absl::StrCat(DescribeNode(node), ": its length is not known; one iteration assumed"));
  }
  WalkCost once;
  const std::vector<ValueFact> results = WalkBody(scope, *body, std::move(facts), &once);
  cost->Add(once, trips);
  const std::vector<int64_t> out_axes = node.IntsAttribute("scan_output_axes");
  std::vector<ValueFact> outputs;
  for (size_t i = 0; i < results.size(); ++i) {
    ValueFact fact = Varying(&results[i]);
    if (i >= states && fact.ranked) {
      const int64_t given = i - states < out_axes.size() ? out_axes[i - states] : 0;
      const auto axis = NormalAxis(given, static_cast<int64_t>(fact.dims.size()) + 1);
      if (axis) {
        fact.dims.insert(fact.dims.begin() + *axis, trips);
      } else {
        fact = ValueFact();
      }
    }
    outputs.push_back(std::move(fact));
  }
  Store(scope, node, std::move(outputs));
}

void GraphWalker::VisitCall(const Scope& scope, const Node& node, const Function& function,
                            WalkCost* cost) {
  const std::string name = FunctionName(function);
  if (!calls_.insert(name).second) {
    Note(&result_.macs_incomplete, absl::StrCat("function ", name, " calls itself"));
    return Store(scope, node, {});
  }
  std::vector<ValueFact> facts;
  for (const ValueFact* fact : Inputs(scope, node)) {
    facts.push_back(fact == nullptr ? ValueFact() : *fact);
  }
  // A function sees its parameters only: the scope around its body is empty.
  static const Graph empty;
  std::unordered_map<std::string, ValueFact> nothing;
  Scope inner;
  inner.graph = &empty;
  inner.facts = &nothing;
  inner.opsets = &function.opset_imports;
  inner.call = &node;
  inner.depth = scope.depth;
  std::vector<ValueFact> outputs = WalkBody(inner, *function.body, std::move(facts), cost);
  calls_.erase(name);
  Store(scope, node, std::move(outputs));
}

}  // namespace lathe::engine
