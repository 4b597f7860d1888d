#include "worker/engine/graph/verifier.h"

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/status_macros.h"
#include "worker/engine/graph/topology.h"

namespace lathe::engine {
namespace {

// Domains that ONNX Runtime imports on its own, in the newest version it has; files without the
// import run.
constexpr absl::string_view kImpliedDomains[] = {
    "ai.onnx.ml",          "ai.onnx.training",     "ai.onnx.preview.training",
    "ai.onnx.preview",     "com.microsoft",        "com.microsoft.experimental",
    "com.microsoft.nchwc", "com.ms.internal.nhwc", "org.pytorch.aten",
};

constexpr size_t kMaxListedNodes = 16;

std::string Describe(const Node& node, size_t index) {
  return absl::StrCat("node ", index, " (", node.op_type,
                      node.name.empty() ? "" : absl::StrCat(" '", node.name, "'"), ")");
}

// A graph being verified: the names visible so far, and what encloses it.
struct Scope {
  const Scope* parent = nullptr;
  const Graph* graph = nullptr;
  std::string where;   // "graph 'main'", "graph 'body' of node 3 (Loop 'l')"
  size_t at_node = 0;  // the node being verified
  absl::flat_hash_set<absl::string_view> visible;

  bool Sees(absl::string_view name) const {
    for (const Scope* scope = this; scope != nullptr; scope = scope->parent) {
      if (scope->visible.contains(name)) return true;
    }
    return false;
  }
};

class Verifier {
 public:
  explicit Verifier(const Model& model) : model_(model) {}
  absl::Status Verify();

 private:
  absl::Status VerifyGraph(const Graph& graph, const Scope* parent, std::string where);
  absl::Status VerifyNode(const Node& node, size_t index, Scope& scope);
  absl::Status VerifyDomain(const Node& node, const Scope& scope) const;
  absl::Status MissingInput(const Scope& scope, const Node& node, const std::string& input) const;
  static absl::Status ProducedTwice(const Scope& scope, absl::string_view value,
                                    absl::string_view how);

  const Model& model_;
  const std::map<std::string, int64_t>* function_imports_ = nullptr;
  absl::flat_hash_set<absl::string_view> function_domains_;
};

absl::Status Verifier::Verify() {
  if (model_.graph == nullptr) return absl::InvalidArgumentError("the model has no graph");
  if (model_.opset_imports.empty()) {
    return absl::InvalidArgumentError(
        "the model imports no operator set (opset_import); export it again with an opset version");
  }
  for (const Function& function : model_.functions) function_domains_.insert(function.domain);
  RETURN_IF_ERROR(
      VerifyGraph(*model_.graph, nullptr, absl::StrCat("graph '", model_.graph->name, "'")));
  for (const Function& function : model_.functions) {
    function_imports_ = &function.opset_imports;
    RETURN_IF_ERROR(
        VerifyGraph(*function.body, nullptr,
                    absl::StrCat("function '", function.domain, ".", function.name, "'")));
  }
  return absl::OkStatus();
}

absl::Status Verifier::ProducedTwice(const Scope& scope, absl::string_view value,
                                     absl::string_view how) {
  return absl::InvalidArgumentError(absl::StrCat(scope.where, ": value '", value,
                                                 "' is produced twice: ", how,
                                                 "; every value needs a name of its own"));
}

absl::Status Verifier::VerifyGraph(const Graph& graph, const Scope* parent, std::string where) {
  Scope scope;
  scope.parent = parent;
  scope.graph = &graph;
  scope.where = std::move(where);
  for (const ValueInfo& input : graph.inputs) {
    if (!scope.visible.insert(input.name).second) {
      return ProducedTwice(scope, input.name, "it is listed twice among the graph's inputs");
    }
  }
  // An initializer may repeat an input's name: that is its default value.
  for (const auto& [name, tensor] : graph.initializers) scope.visible.insert(name);
  for (const auto& [name, sparse] : graph.sparse_initializers) {
    if (graph.initializers.contains(name))
      return ProducedTwice(scope, name, "as an initializer and a sparse one");
    scope.visible.insert(name);
  }
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    scope.at_node = i;
    RETURN_IF_ERROR(VerifyNode(*graph.nodes[i], i, scope));
  }
  for (const ValueInfo& output : graph.outputs) {
    const bool found =
        parent == nullptr ? scope.visible.contains(output.name) : scope.Sees(output.name);
    if (!found) {
      return absl::InvalidArgumentError(
          absl::StrCat(scope.where, ": output '", output.name,
                       "' is produced by no node, input or initializer"));
    }
  }
  return absl::OkStatus();
}

absl::Status Verifier::VerifyNode(const Node& node, size_t index, Scope& scope) {
  if (node.op_type.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(scope.where, ": ", Describe(node, index), " has no op_type"));
  }
  RETURN_IF_ERROR(VerifyDomain(node, scope));
  for (const std::string& input : node.inputs) {
    if (!input.empty() && !scope.Sees(input)) return MissingInput(scope, node, input);
  }
  for (const Attribute& attribute : node.attributes) {
    for (const auto& sub : attribute.graphs) {
      RETURN_IF_ERROR(VerifyGraph(*sub, &scope,
                                  absl::StrCat("graph '", sub->name, "' (", attribute.name, " of ",
                                               Describe(node, index), " in ", scope.where, ")")));
    }
  }
  for (const std::string& output : node.outputs) {
    if (output.empty() || scope.visible.insert(output).second) continue;
    for (size_t i = 0; i <= index; ++i) {
      const auto& earlier = scope.graph->nodes[i];
      if (std::find(earlier->outputs.begin(), earlier->outputs.end(), output) ==
          earlier->outputs.end())
        continue;
      if (i == index) break;
      return ProducedTwice(
          scope, output,
          absl::StrCat("by ", Describe(*earlier, i), " and ", Describe(node, index)));
    }
    const bool same_node = std::count(node.outputs.begin(), node.outputs.end(), output) > 1;
    return ProducedTwice(scope, output,
                         same_node ? absl::StrCat("twice by ", Describe(node, index))
                                   : absl::StrCat("by ", Describe(node, index),
                                                  " and as a graph input or initializer"));
  }
  return absl::OkStatus();
}

absl::Status Verifier::VerifyDomain(const Node& node, const Scope& scope) const {
  const auto imports = [&](const std::map<std::string, int64_t>& table) {
    return table.contains(node.domain);
  };
  if (imports(model_.opset_imports) ||
      (function_imports_ != nullptr && imports(*function_imports_))) {
    return absl::OkStatus();
  }
  const bool implied = std::find(std::begin(kImpliedDomains), std::end(kImpliedDomains),
                                 node.domain) != std::end(kImpliedDomains);
  if (implied || function_domains_.contains(node.domain)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(scope.where, ": ", Describe(node, scope.at_node), " is of domain '",
                   node.domain.empty() ? "ai.onnx" : node.domain,
                   "', which the model does not import; add it to opset_import"));
}

absl::Status Verifier::MissingInput(const Scope& scope, const Node& node,
                                    const std::string& input) const {
  const std::string reader = absl::StrCat(scope.where, ": ", Describe(node, scope.at_node));
  for (const Scope* outer = &scope; outer != nullptr; outer = outer->parent) {
    const auto& nodes = outer->graph->nodes;
    // Not visible, so it comes from this node or a later one, if at all.
    for (size_t i = outer->at_node; i < nodes.size(); ++i) {
      if (std::find(nodes[i]->outputs.begin(), nodes[i]->outputs.end(), input) ==
          nodes[i]->outputs.end())
        continue;
      const std::vector<int64_t> cycle =
          FindCycle(*outer->graph, static_cast<int64_t>(outer->at_node));
      if (cycle.empty()) {
        return absl::InvalidArgumentError(
            absl::StrCat(reader, " reads '", input, "' before it is produced by ",
                         Describe(*nodes[i], i), "; nodes must stand in topological order"));
      }
      std::vector<std::string> names;
      for (size_t k = 0; k < std::min(cycle.size(), kMaxListedNodes); ++k) {
        names.push_back(Describe(*nodes[cycle[k]], cycle[k]));
      }
      if (cycle.size() > kMaxListedNodes)
        names.push_back(absl::StrCat("... (", cycle.size(), " nodes)"));
      return absl::InvalidArgumentError(
          absl::StrCat(outer->where, ": the nodes form a cycle: ", absl::StrJoin(names, " -> "),
                       " -> back to the first; value '", input, "' depends on itself"));
    }
  }
  return absl::InvalidArgumentError(
      absl::StrCat(reader, " reads '", input,
                   "', which no node, input or initializer produces; the model is incomplete, or a "
                   "name is misspelled"));
}

}  // namespace

absl::Status VerifyModel(const Model& model) { return Verifier(model).Verify(); }

}  // namespace lathe::engine
