#include "worker/engine/passes/function_body.h"

#include <google/protobuf/unknown_field_set.h>
#include <onnx/onnx_pb.h>

#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "worker/engine/graph/clone.h"
#include "worker/engine/graph/function_calls.h"
#include "worker/engine/graph/scopes.h"

namespace lathe::engine {
namespace {

constexpr int kFunctionDefaultsField = 11;  // FunctionProto.attribute_proto, of ONNX 1.13
constexpr int64_t kHoistBytes = 1024;

const std::string& Renamed(const std::unordered_map<std::string, std::string>& renames,
                           const std::string& value) {
  const auto found = renames.find(value);
  return found == renames.end() ? value : found->second;
}

ValueInfo RenamedInfo(const ValueInfo& info, const std::string& name) {
  ValueInfo copy = info;
  copy.name = name;
  onnx::ValueInfoProto proto;
  if (!copy.original.empty() && proto.ParseFromString(copy.original)) {
    proto.set_name(name);
    copy.original = proto.SerializeAsString();
  } else {
    copy.modified = true;
  }
  return copy;
}

// The kinds that function defaults take in practice.
bool FromProto(const onnx::AttributeProto& proto, Attribute& attribute) {
  attribute.name = proto.name();
  attribute.kind = static_cast<Attribute::Kind>(proto.type());
  switch (proto.type()) {
    case onnx::AttributeProto::FLOAT:
      attribute.f = proto.f();
      return true;
    case onnx::AttributeProto::INT:
      attribute.i = proto.i();
      return true;
    case onnx::AttributeProto::STRING:
      attribute.s = proto.s();
      return true;
    case onnx::AttributeProto::FLOATS:
      attribute.floats.assign(proto.floats().begin(), proto.floats().end());
      return true;
    case onnx::AttributeProto::INTS:
      attribute.ints.assign(proto.ints().begin(), proto.ints().end());
      return true;
    case onnx::AttributeProto::STRINGS:
      attribute.strings.assign(proto.strings().begin(), proto.strings().end());
      return true;
    default:
      return false;
  }
}

}  // namespace

std::map<std::string, Attribute> FunctionDefaults(const Function& function) {
  std::map<std::string, Attribute> defaults;
  google::protobuf::UnknownFieldSet fields;
  if (!fields.ParseFromString(function.extra)) return defaults;
  for (int i = 0; i < fields.field_count(); ++i) {
    const google::protobuf::UnknownField& field = fields.field(i);
    if (field.number() != kFunctionDefaultsField ||
        field.type() != google::protobuf::UnknownField::TYPE_LENGTH_DELIMITED) {
      continue;
    }
    onnx::AttributeProto proto;
    Attribute attribute;
    if (proto.ParseFromString(field.length_delimited()) && FromProto(proto, attribute)) {
      defaults[attribute.name] = std::move(attribute);
    }
  }
  return defaults;
}

int64_t CountNodes(const Graph& graph) {
  int64_t count = static_cast<int64_t>(graph.nodes.size());
  for (const auto& node : graph.nodes) {
    for (const Attribute& attribute : node->attributes) {
      for (const auto& sub : attribute.graphs) count += CountNodes(*sub);
    }
  }
  return count;
}

BodyCopier::BodyCopier(Model& model, const Function& function, const Node& call, NameScope& names,
                       std::unordered_map<const Node*, std::string>* hoisted)
    : model_(model),
      function_(function),
      call_(call),
      names_(names),
      hoisted_(hoisted),
      prefix_(call.name.empty() ? call.op_type : call.name),
      defaults_(FunctionDefaults(function)) {}

const Attribute* BodyCopier::Resolve(const Attribute& attribute) const {
  const std::string referred = ReferredAttribute(attribute);
  if (referred.empty()) return &attribute;
  if (const Attribute* given = call_.FindAttribute(referred)) return given;
  const auto fallback = defaults_.find(referred);
  return fallback == defaults_.end() ? nullptr : &fallback->second;
}

std::string BodyCopier::Obstacle() const {
  std::string obstacle;
  const auto visit = [&](const Graph& graph, const auto& self) -> void {
    for (const auto& node : graph.nodes) {
      for (const Attribute& attribute : node->attributes) {
        if (node->Is("Constant") && Resolve(attribute) == nullptr) {
          obstacle = absl::StrCat("its ", DescribeNode(*node), " needs the attribute '",
                                  ReferredAttribute(attribute), "', which ", DescribeNode(call_),
                                  " does not give");
        }
        for (const auto& sub : attribute.graphs) self(*sub, self);
      }
    }
  };
  visit(*function_.body, visit);
  return obstacle;
}

std::string BodyCopier::Fresh(const std::string& value) {
  return value.empty() ? "" : names_.Fresh(absl::StrCat(prefix_, "/", value));
}

bool BodyCopier::Hoist(const Node& node, Renames& renames) {
  if (hoisted_ == nullptr || !node.Is("Constant") || node.outputs.empty()) return false;
  const Attribute* value = node.FindAttribute("value");
  if (value == nullptr || value->tensors.size() != 1) return false;
  const Tensor& tensor = value->tensors[0];
  if (tensor.byte_size() < kHoistBytes || !ReferredAttribute(*value).empty()) return false;
  const auto [slot, fresh] = hoisted_->try_emplace(&node);
  if (fresh) {
    slot->second = names_.Fresh(absl::StrCat(function_.name, "/", node.outputs[0]));
    Tensor copy = tensor;
    copy.name = slot->second;
    model_.graph->initializers.emplace(slot->second, std::move(copy));
  }
  renames[node.outputs[0]] = slot->second;
  return true;
}

std::vector<std::unique_ptr<Node>> BodyCopier::Copy(Graph& parent) {
  const Graph& body = *function_.body;
  Renames renames;
  for (size_t i = 0; i < body.inputs.size(); ++i) {
    renames[body.inputs[i].name] = i < call_.inputs.size() ? call_.inputs[i] : "";
  }
  std::unordered_map<std::string, std::string> results;  // value of the body -> output of the call
  for (size_t i = 0; i < body.outputs.size() && i < call_.outputs.size(); ++i) {
    if (!call_.outputs[i].empty()) results.try_emplace(body.outputs[i].name, call_.outputs[i]);
  }
  std::vector<std::unique_ptr<Node>> nodes;
  for (const auto& node : body.nodes) {
    const bool is_result = !node->outputs.empty() && results.contains(node->outputs[0]);
    if (!is_result && Hoist(*node, renames)) continue;
    for (const std::string& output : node->outputs) {
      if (output.empty()) continue;
      const auto result = results.find(output);
      renames[output] = result == results.end() ? Fresh(output) : result->second;
    }
    nodes.push_back(CopyNode(*node, parent, renames));
  }
  // What the body hands out without computing it, or hands out twice.
  for (size_t i = 0; i < body.outputs.size() && i < call_.outputs.size(); ++i) {
    const std::string& target = call_.outputs[i];
    const std::string& value = Renamed(renames, body.outputs[i].name);
    if (target.empty() || value == target || value.empty()) continue;
    auto identity = std::make_unique<Node>();
    identity->op_type = "Identity";
    identity->name = Fresh("Identity");
    identity->inputs = {value};
    identity->outputs = {target};
    nodes.push_back(std::move(identity));
  }
  return nodes;
}

std::unique_ptr<Node> BodyCopier::CopyNode(const Node& node, Graph& parent,
                                           const Renames& renames) {
  std::unique_ptr<Node> copy = CloneShell(node);
  copy->name = Fresh(node.name);
  for (std::string& input : copy->inputs) input = Renamed(renames, input);
  for (std::string& output : copy->outputs) output = Renamed(renames, output);
  for (const Attribute& attribute : node.attributes) {
    const Attribute* resolved = Resolve(attribute);
    if (resolved == nullptr) continue;
    if (resolved != &attribute) {
      copy->attributes.push_back(
          CloneAttribute(*resolved, &parent));  // the call's graphs name the call's values
      copy->attributes.back().name = attribute.name;
      continue;
    }
    Attribute plain = CloneShell(attribute);
    for (const auto& sub : attribute.graphs)
      plain.graphs.push_back(CopyGraph(*sub, parent, renames));
    copy->attributes.push_back(std::move(plain));
  }
  return copy;
}

std::unique_ptr<Graph> BodyCopier::CopyGraph(const Graph& graph, Graph& parent, Renames renames) {
  std::unique_ptr<Graph> copy = CloneShell(graph);
  copy->parent = &parent;
  copy->initializers.clear();
  copy->sparse_initializers.clear();
  copy->value_infos.clear();
  // The subgraph's own values get fresh names, so that they cannot hide a value that the call hands
  // in.
  for (ValueInfo& input : copy->inputs) {
    renames[input.name] = Fresh(input.name);
    input = RenamedInfo(input, renames[input.name]);
  }
  for (const auto& [name, tensor] : graph.initializers) {
    if (!graph.IsInput(name)) renames[name] = Fresh(name);
    Tensor renamed = tensor;
    renamed.name = renames[name];
    copy->initializers.emplace(renamed.name, std::move(renamed));
  }
  for (const auto& [name, sparse] : graph.sparse_initializers) {
    onnx::SparseTensorProto proto;
    const absl::string_view bytes = sparse.view();
    if (bytes.size() > std::numeric_limits<int>::max() ||
        !proto.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
      continue;
    }
    renames[name] = Fresh(name);
    proto.mutable_values()->set_name(renames[name]);
    copy->sparse_initializers.emplace(renames[name], Bytes::Own(proto.SerializeAsString()));
  }
  for (const auto& node : graph.nodes) {
    for (const std::string& output : node->outputs) {
      if (!output.empty()) renames[output] = Fresh(output);
    }
    copy->nodes.push_back(CopyNode(*node, *copy, renames));
  }
  for (ValueInfo& output : copy->outputs)
    output = RenamedInfo(output, Renamed(renames, output.name));
  for (const auto& [name, info] : graph.value_infos) {
    const std::string& renamed = Renamed(renames, name);
    copy->value_infos.emplace(renamed, RenamedInfo(info, renamed));
  }
  return copy;
}

}  // namespace lathe::engine
