#include "worker/engine/passes/inline_functions.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <memory>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "worker/engine/graph/edit.h"
#include "worker/engine/graph/function_calls.h"
#include "worker/engine/graph/function_parameters.h"
#include "worker/engine/passes/function_body.h"

namespace lathe::engine {
namespace {

class Inliner {
 public:
  Inliner(Model& model, std::vector<std::string>* notes)
      : model_(model), notes_(notes), names_(model) {}

  void Run() {
    const std::set<const Function*> called = Called();
    // A function that hands its own parameter on to one that is inlined becomes a candidate in the
    // next round; calls cannot be nested deeper than there are functions.
    for (size_t round = 0; round <= model_.functions.size(); ++round) {
      bool changed = false;
      for (const Function* function : FunctionsWithWeightParameters(model_)) {
        if (refused_.contains(function)) continue;
        changed = InlineCallsOf(*function) || changed;
      }
      if (!changed) break;
    }
    for (const auto& [function, count] : inlined_) {
      Note(absl::StrCat("inlined ", count, count == 1 ? " call" : " calls", " of function ",
                        FunctionName(*function), ", whose weights are parameters"));
    }
    RemoveUncalled(called);
  }

 private:
  void Note(std::string note) {
    if (notes_ != nullptr) notes_->push_back(std::move(note));
  }

  void Refuse(const Function& function, const std::string& reason) {
    if (!refused_.insert(&function).second) return;
    Note(absl::StrCat("function ", FunctionName(function), " was not inlined: ", reason));
  }

  bool InlineCallsOf(const Function& function) {
    const std::string obstacle = InlineObstacle(model_, function);
    if (!obstacle.empty()) {
      Refuse(function, obstacle);
      return false;
    }
    const int64_t before = inlined_nodes_;
    bool changed = VisitGraph(*model_.graph, function, nullptr);
    for (Function& caller : model_.functions) {
      if (&caller == &function) continue;
      changed = VisitGraph(*caller.body, function, &caller) || changed;
    }
    return changed && inlined_nodes_ > before;
  }

  // Replaces the calls in `graph` and its subgraphs; `caller` is the function they belong to,
  // nullptr in the model's own graph.
  bool VisitGraph(Graph& graph, const Function& function, Function* caller) {
    bool changed = false;
    std::vector<std::unique_ptr<Node>> nodes;
    for (std::unique_ptr<Node>& node : graph.nodes) {
      for (Attribute& attribute : node->attributes) {
        for (auto& sub : attribute.graphs) changed = VisitGraph(*sub, function, caller) || changed;
      }
      if (node->op_type != function.name || FindCallee(model_, *node) != &function ||
          !Expand(*node, graph, function, caller, nodes)) {
        nodes.push_back(std::move(node));
        continue;
      }
      changed = true;
      ++inlined_[&function];
    }
    graph.nodes = std::move(nodes);
    return changed;
  }

  bool Expand(const Node& call, Graph& graph, const Function& function, Function* caller,
              std::vector<std::unique_ptr<Node>>& out) {
    const int64_t size = CountNodes(*function.body);
    if (inlined_nodes_ + size > limits::kMaxInlinedNodes) {
      Refuse(function,
             absl::StrCat("more than ", limits::kMaxInlinedNodes, " nodes would be added"));
      return false;
    }
    BodyCopier copier(model_, function, call, names_, caller == nullptr ? &hoisted_ : nullptr);
    if (const std::string obstacle = copier.Obstacle(); !obstacle.empty()) {
      Refuse(function, obstacle);
      return false;
    }
    if (!Import(function, caller == nullptr ? model_.opset_imports : caller->opset_imports)) {
      Refuse(function,
             absl::StrCat("its opset imports are not those of its caller ", FunctionName(*caller)));
      return false;
    }
    std::vector<std::unique_ptr<Node>> nodes = copier.Copy(graph);
    inlined_nodes_ += std::max<int64_t>(size, 1);
    out.insert(out.end(), std::make_move_iterator(nodes.begin()),
               std::make_move_iterator(nodes.end()));
    return true;
  }

  // Adds the domains that the caller lacks. False, and nothing is changed, when a version differs.
  bool Import(const Function& function, std::map<std::string, int64_t>& imports) {
    std::set<std::string> used;
    auto collect = [&used](const Graph& graph) {
      for (const auto& node : graph.nodes) used.insert(node->domain);
    };
    internal::VisitGraph(std::as_const(*function.body), collect);
    for (const auto& [domain, version] : function.opset_imports) {
      const auto present = imports.find(domain);
      if (present != imports.end() && present->second != version && used.contains(domain)) {
        return false;
      }
    }
    for (const auto& [domain, version] : function.opset_imports) {
      if (used.contains(domain)) imports.emplace(domain, version);
    }
    return true;
  }

  // Functions that some node calls.
  std::set<const Function*> Called() const {
    std::set<const Function*> called;
    ForEachGraph(std::as_const(model_), [&](const Graph& graph) {
      for (const auto& node : graph.nodes) {
        if (const Function* callee = FindCallee(model_, *node)) called.insert(callee);
      }
    });
    return called;
  }

  // Removes what was called before and is not now; going may leave others uncalled.
  void RemoveUncalled(const std::set<const Function*>& before) {
    // By key: removal moves the functions.
    std::set<std::string> once_called;
    for (const Function* function : before) once_called.insert(Key(*function));
    while (true) {
      std::set<std::string> called;
      for (const Function* function : Called()) called.insert(Key(*function));
      const auto uncalled = [&](const Function& function) {
        return once_called.contains(Key(function)) && !called.contains(Key(function));
      };
      const auto end = std::remove_if(model_.functions.begin(), model_.functions.end(), uncalled);
      if (end == model_.functions.end()) return;
      model_.functions.erase(end, model_.functions.end());
    }
  }

  static std::string Key(const Function& function) {
    return absl::StrCat(function.domain, "\n", function.name, "\n", function.overload);
  }

  Model& model_;
  std::vector<std::string>* notes_;
  NameScope names_;
  std::unordered_map<const Node*, std::string> hoisted_;
  std::set<const Function*> refused_;
  std::map<const Function*, int> inlined_;
  int64_t inlined_nodes_ = 0;
};

}  // namespace

absl::Status InlineFunctions(Model& model, std::vector<std::string>* notes) {
  if (!model.functions.empty()) Inliner(model, notes).Run();
  return absl::OkStatus();
}

}  // namespace lathe::engine
