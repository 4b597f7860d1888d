#include "worker/engine/graph/function_calls.h"

#include <google/protobuf/unknown_field_set.h>

#include <algorithm>
#include <set>
#include <vector>

#include "absl/strings/str_cat.h"

namespace lathe::engine {
namespace {

constexpr int kNodeOverloadField = 8;       // NodeProto.overload, of ONNX 1.16
constexpr int kAttributeRefNameField = 21;  // AttributeProto.ref_attr_name

template <typename Fn>
void ForEachNode(const Graph& graph, const Fn& fn) {
  for (const auto& node : graph.nodes) {
    fn(*node);
    for (const Attribute& attribute : node->attributes) {
      for (const auto& sub : attribute.graphs) ForEachNode(*sub, fn);
    }
  }
}

// Whether a call of `from` leads to a call of `target`; `seen` bounds the walk.
bool Reaches(const Model& model, const Function& from, const Function& target,
             std::set<const Function*>& seen) {
  if (!seen.insert(&from).second) return false;
  std::vector<const Function*> callees;
  ForEachNode(*from.body, [&](const Node& node) {
    if (const Function* callee = FindCallee(model, node)) callees.push_back(callee);
  });
  return std::any_of(callees.begin(), callees.end(), [&](const Function* callee) {
    return callee == &target || Reaches(model, *callee, target, seen);
  });
}

}  // namespace

std::string SerializedField(const std::string& message, int number) {
  if (message.empty()) return "";
  google::protobuf::UnknownFieldSet fields;
  if (!fields.ParseFromString(message)) return "";
  std::string value;
  for (int i = 0; i < fields.field_count(); ++i) {
    const google::protobuf::UnknownField& field = fields.field(i);
    if (field.number() == number &&
        field.type() == google::protobuf::UnknownField::TYPE_LENGTH_DELIMITED) {
      value = field.length_delimited();
    }
  }
  return value;
}

std::string ReferredAttribute(const Attribute& attribute) {
  return SerializedField(attribute.extra, kAttributeRefNameField);
}

const Function* FindCallee(const Model& model, const Node& node) {
  if (model.functions.empty()) return nullptr;
  for (const Function& function : model.functions) {
    if (function.name == node.op_type && function.domain == node.domain &&
        function.overload == SerializedField(node.extra, kNodeOverloadField)) {
      return &function;
    }
  }
  return nullptr;
}

std::string FunctionName(const Function& function) {
  return absl::StrCat(function.domain, "::", function.name);
}

std::string InlineObstacle(const Model& model, const Function& function) {
  std::set<std::string> used;
  ForEachNode(*function.body, [&used](const Node& node) { used.insert(node.domain); });
  for (const std::string& domain : used) {
    const auto wanted = function.opset_imports.find(domain);
    if (wanted == function.opset_imports.end()) continue;
    const int64_t present = model.OpsetVersion(domain);
    if (present != 0 && present != wanted->second) {
      return absl::StrCat("it imports ", domain.empty() ? "ai.onnx" : domain, " ", wanted->second,
                          " where the model has ", present);
    }
  }
  std::set<const Function*> seen;
  if (Reaches(model, function, function, seen)) return "it calls itself";
  return "";
}

}  // namespace lathe::engine
