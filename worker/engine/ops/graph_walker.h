// Walks a model in execution order and works out the facts of every value (internal to
// ops/shape_inference).
#ifndef LATHE_WORKER_ENGINE_OPS_GRAPH_WALKER_H_
#define LATHE_WORKER_ENGINE_OPS_GRAPH_WALKER_H_

#include <map>
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "worker/engine/graph/model.h"
#include "worker/engine/ops/constant_reads.h"
#include "worker/engine/ops/op_context.h"
#include "worker/engine/ops/shape_inference.h"
#include "worker/engine/ops/value_readers.h"

namespace lathe::engine {

// What one run of a graph costs, by operator.
struct WalkCost {
  std::map<std::string, OperatorCost> by_op;
  OperatorCost Total() const;
  void Add(const WalkCost& other, int64_t times);
};

class GraphWalker {
 public:
  GraphWalker(const Model& model, const Bindings& bindings);
  Inference Run();

 private:
  // One graph being walked: its facts, and the scope around it.
  struct Scope {
    const Graph* graph = nullptr;
    const Scope* outer = nullptr;
    const std::map<std::string, int64_t>* opsets = nullptr;
    std::unordered_map<std::string, ValueFact>* facts = nullptr;
    const Node* call = nullptr;  // of the function that `graph` lies in
    int depth = 0;
  };

  // All of these add what they find to `cost`.
  void Walk(const Scope& scope, WalkCost* cost);
  void Visit(const Scope& scope, const Node& node, const Node& original, WalkCost* cost);
  void VisitIf(const Scope& scope, const Node& node, WalkCost* cost);
  void VisitLoop(const Scope& scope, const Node& node, WalkCost* cost);
  void VisitScan(const Scope& scope, const Node& node, WalkCost* cost);
  void VisitCall(const Scope& scope, const Node& node, const Function& function, WalkCost* cost);
  void VisitOperator(const Scope& scope, const Node& node, const Node& original, WalkCost* cost);

  // Walks a subgraph whose inputs have these facts; its outputs' facts.
  std::vector<ValueFact> WalkBody(const Scope& scope, const Graph& body,
                                  std::vector<ValueFact> inputs, WalkCost* cost);
  const ValueFact* Lookup(const Scope& scope, const std::string& value);
  std::vector<const ValueFact*> Inputs(const Scope& scope, const Node& node);
  // Stores the facts of a node's outputs, from declarations where they are not known.
  void Store(const Scope& scope, const Node& node, std::vector<ValueFact> facts);
  ValueFact Declared(const ValueInfo& info, bool is_input);
  // Outputs that are computed at load.
  void NumberConstant(OpContext& ctx, const Node& original);
  void CountOperator(const Scope& scope, const Node& node, const Node& original, const OpRule& rule,
                     OpContext& ctx, WalkCost* cost);
  // Adds to a list of the result, once, up to a number of entries.
  void Note(std::vector<std::string>* list, std::string text);

  const Model& model_;
  const Bindings& given_;
  Inference result_;
  std::set<std::string> used_;
  std::set<std::string> noted_;
  ConstantReads constants_;
  ValueReaders readers_;
  std::unordered_set<std::string> calls_;  // functions being walked
  int64_t budget_;
};

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_OPS_GRAPH_WALKER_H_
