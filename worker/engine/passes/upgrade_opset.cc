#include "worker/engine/passes/upgrade_opset.h"

#include <iterator>
#include <map>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/status_macros.h"
#include "worker/engine/graph/clone.h"
#include "worker/engine/graph/edit.h"
#include "worker/engine/graph/function_calls.h"
#include "worker/engine/graph/scopes.h"
#include "worker/engine/passes/opset_adapter.h"

namespace lathe::engine {
namespace {

class Lifter {
 public:
  Lifter(Model& model, int64_t target) : model_(model), target_(target), names_(model) {}

  absl::Status Run() {
    RaiseIrVersion(model_, IrVersionFor(target_));  // first: it decides how constants are added
    RETURN_IF_ERROR(Lift(*model_.graph, model_.OpsetVersion(""), "the model"));
    model_.opset_imports[""] = target_;
    for (Function& function : model_.functions) {
      const auto version = function.opset_imports.find("");
      if (version == function.opset_imports.end() || version->second >= target_) continue;
      if (!UsesOnnx(*function.body)) continue;
      RETURN_IF_ERROR(
          Lift(*function.body, version->second, absl::StrCat("function ", FunctionName(function))));
      version->second = target_;
    }
    return absl::OkStatus();
  }

  const std::map<std::string, int>& rewritten() const { return rewritten_; }

 private:
  bool UsesOnnx(const Graph& graph) const {
    for (const auto& node : graph.nodes) {
      if (node->domain.empty()) return true;
      for (const Attribute& attribute : node->attributes) {
        for (const auto& sub : attribute.graphs) {
          if (UsesOnnx(*sub)) return true;
        }
      }
    }
    return false;
  }

  absl::Status Lift(Graph& graph, int64_t from, const std::string& where) {
    if (from == 0 && !UsesOnnx(graph)) return absl::OkStatus();
    if (from < kOldestLiftableOpset) {
      return absl::FailedPreconditionError(
          absl::StrCat(where, " is of opset ", from, "; only opset ", kOldestLiftableOpset,
                       " and newer can be lifted: export it again with a newer opset"));
    }
    for (int64_t version = from + 1; version <= target_; ++version) {
      RETURN_IF_ERROR(Step(graph, version));
    }
    return absl::OkStatus();
  }

  // Takes all nodes of a graph and its subgraphs from version - 1 to version.
  absl::Status Step(Graph& graph, int64_t version) {
    AdapterContext context(model_, graph, names_, target_);
    // Where new nodes go: before and after a node, by its index. The list itself is rebuilt at the
    // end, so that adapters see it.
    std::vector<std::vector<std::unique_ptr<Node>>> before(graph.nodes.size());
    std::vector<std::vector<std::unique_ptr<Node>>> after(graph.nodes.size());
    bool inserted = false;
    for (size_t i = 0; i < graph.nodes.size(); ++i) {
      Node& node = *graph.nodes[i];
      for (Attribute& attribute : node.attributes) {
        for (auto& sub : attribute.graphs) RETURN_IF_ERROR(Step(*sub, version));
      }
      if (!node.domain.empty() || FindCallee(model_, node) != nullptr) continue;
      if (!IsKnownOp(node.op_type)) {
        return Refusal(node, version, "it is not an operator of ai.onnx up to opset 21");
      }
      const AdaptFn adapt = FindAdapter(node.op_type, version);
      if (adapt == nullptr) continue;
      for (const Attribute& attribute : node.attributes) {
        if (ReferredAttribute(attribute).empty()) continue;
        return Refusal(node, version,
                       absl::StrCat("its attribute '", attribute.name,
                                    "' refers to an attribute of the function"));
      }
      const std::string op = node.op_type;
      context.Start(node);
      const std::string obstacle = adapt(context);
      if (!obstacle.empty()) return Refusal(node, version, obstacle);
      ++rewritten_[op];
      inserted = inserted || !context.before.empty() || !context.after.empty();
      before[i] = std::exchange(context.before, {});
      after[i] = std::exchange(context.after, {});
    }
    if (inserted) {
      std::vector<std::unique_ptr<Node>> nodes;
      const auto move = [&nodes](std::vector<std::unique_ptr<Node>>& from) {
        nodes.insert(nodes.end(), std::make_move_iterator(from.begin()),
                     std::make_move_iterator(from.end()));
      };
      for (size_t i = 0; i < graph.nodes.size(); ++i) {
        move(before[i]);
        nodes.push_back(std::move(graph.nodes[i]));
        move(after[i]);
      }
      graph.nodes = std::move(nodes);
    }
    for (Tensor& constant : context.constants) AddConstant(model_, graph, std::move(constant));
    return absl::OkStatus();
  }

  absl::Status Refusal(const Node& node, int64_t version, const std::string& reason) const {
    return absl::FailedPreconditionError(absl::StrCat("cannot lift ", DescribeNode(node),
                                                      " from opset ", version - 1, " to ", target_,
                                                      ": ", reason));
  }

  Model& model_;
  int64_t target_;
  NameScope names_;
  std::map<std::string, int> rewritten_;
};

}  // namespace

int64_t IrVersionFor(int64_t opset) {
  // ONNX's table of releases (docs/Versioning.md): the IR version of the release that brought the
  // opset.
  if (opset <= 8) return 3;
  if (opset == 9) return 4;
  if (opset == 10) return 5;
  if (opset == 11) return 6;
  if (opset <= 14) return 7;
  if (opset <= 18) return 8;
  if (opset <= 20) return 9;
  return 10;
}

absl::Status UpgradeOpset(Model& model, int64_t target, std::vector<std::string>* notes) {
  if (target < kOldestLiftableOpset || target > kNewestLiftableOpset) {
    return absl::InvalidArgumentError(absl::StrCat("cannot lift to opset ", target,
                                                   ": it must lie in [", kOldestLiftableOpset, ", ",
                                                   kNewestLiftableOpset, "]"));
  }
  const int64_t from = model.OpsetVersion("");
  if (from >= target) return absl::OkStatus();
  // The same work on a copy first: it shares the weights, and a refusal leaves the model as it was.
  Model trial = CloneModel(model);
  RETURN_IF_ERROR(Lifter(trial, target).Run());
  Lifter lifter(model, target);
  RETURN_IF_ERROR(lifter.Run());
  if (notes != nullptr) {
    std::vector<std::string> parts;
    for (const auto& [op, count] : lifter.rewritten())
      parts.push_back(absl::StrCat(count, " ", op));
    notes->push_back(absl::StrCat(
        "lifted from opset ", from, " to ", target,
        parts.empty() ? "" : absl::StrCat(", rewriting ", absl::StrJoin(parts, ", "))));
  }
  return absl::OkStatus();
}

}  // namespace lathe::engine
