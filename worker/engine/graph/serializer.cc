#include "worker/engine/graph/serializer.h"

#include "absl/strings/str_cat.h"
#include "worker/engine/graph/value_info.h"

namespace lathe::engine {
namespace {

// Field numbers are those of onnx.proto; each function writes one message.
class Serializer {
 public:
  explicit Serializer(const ExternalPlacement& placement) : placement_(placement) {}

  WireBuffer ModelProto(const Model& model) const;

 private:
  WireBuffer GraphProto(const Graph& graph) const;
  WireBuffer NodeProto(const Node& node) const;
  WireBuffer AttributeProto(const Attribute& attribute) const;
  WireBuffer TensorProto(const Tensor& tensor) const;
  WireBuffer FunctionProto(const Function& function) const;
  static void AddOpsetImports(WireBuffer& out, uint32_t field,
                              const std::map<std::string, int64_t>& imports);

  const ExternalPlacement& placement_;
};

void AddIfNotEmpty(WireBuffer& out, uint32_t field, absl::string_view value) {
  if (!value.empty()) out.AddString(field, value);
}

WireBuffer StringStringEntryProto(absl::string_view key, absl::string_view value) {
  WireBuffer out;
  out.AddString(1, key);
  out.AddString(2, value);
  return out;
}

WireBuffer Serializer::ModelProto(const Model& model) const {
  WireBuffer out;
  if (model.ir_version != 0) out.AddInt(1, model.ir_version);
  out.AddFields(model.extra);
  if (model.graph != nullptr) out.AddMessage(7, GraphProto(*model.graph));
  AddOpsetImports(out, 8, model.opset_imports);
  for (const Function& function : model.functions) out.AddMessage(25, FunctionProto(function));
  return out;
}

void Serializer::AddOpsetImports(WireBuffer& out, uint32_t field,
                                 const std::map<std::string, int64_t>& imports) {
  for (const auto& [domain, version] : imports) {
    WireBuffer import;
    import.AddString(1, domain);
    import.AddInt(2, version);
    out.AddMessage(field, import);
  }
}

WireBuffer Serializer::GraphProto(const Graph& graph) const {
  WireBuffer out;
  for (const auto& node : graph.nodes) out.AddMessage(1, NodeProto(*node));
  AddIfNotEmpty(out, 2, graph.name);
  for (const auto& [name, tensor] : graph.initializers) out.AddMessage(5, TensorProto(tensor));
  AddIfNotEmpty(out, 10, graph.doc_string);
  for (const ValueInfo& input : graph.inputs) out.AddString(11, SerializeValueInfo(input));
  for (const ValueInfo& output : graph.outputs) out.AddString(12, SerializeValueInfo(output));
  for (const auto& [name, info] : graph.value_infos) out.AddString(13, SerializeValueInfo(info));
  for (const auto& [name, sparse] : graph.sparse_initializers) out.AddPayload(15, sparse);
  out.AddFields(graph.extra);
  return out;
}

WireBuffer Serializer::NodeProto(const Node& node) const {
  WireBuffer out;
  for (const std::string& input : node.inputs) out.AddString(1, input);
  for (const std::string& output : node.outputs) out.AddString(2, output);
  AddIfNotEmpty(out, 3, node.name);
  AddIfNotEmpty(out, 4, node.op_type);
  for (const Attribute& attribute : node.attributes) out.AddMessage(5, AttributeProto(attribute));
  AddIfNotEmpty(out, 6, node.doc_string);
  AddIfNotEmpty(out, 7, node.domain);
  out.AddFields(node.extra);
  return out;
}

WireBuffer Serializer::AttributeProto(const Attribute& attribute) const {
  using Kind = Attribute::Kind;
  WireBuffer out;
  AddIfNotEmpty(out, 1, attribute.name);
  switch (attribute.kind) {
    case Kind::kUndefined:
      break;
    case Kind::kFloat:
      out.AddFloat(2, attribute.f);
      break;
    case Kind::kInt:
      out.AddInt(3, attribute.i);
      break;
    case Kind::kString:
      out.AddString(4, attribute.s);
      break;
    case Kind::kTensor:
      for (const Tensor& tensor : attribute.tensors) out.AddMessage(5, TensorProto(tensor));
      break;
    case Kind::kGraph:
      for (const auto& graph : attribute.graphs) out.AddMessage(6, GraphProto(*graph));
      break;
    case Kind::kFloats:
      for (const float value : attribute.floats) out.AddFloat(7, value);
      break;
    case Kind::kInts:
      for (const int64_t value : attribute.ints) out.AddInt(8, value);
      break;
    case Kind::kStrings:
      for (const std::string& value : attribute.strings) out.AddString(9, value);
      break;
    case Kind::kTensors:
      for (const Tensor& tensor : attribute.tensors) out.AddMessage(10, TensorProto(tensor));
      break;
    case Kind::kGraphs:
      for (const auto& graph : attribute.graphs) out.AddMessage(11, GraphProto(*graph));
      break;
  }
  if (attribute.kind != Kind::kUndefined) out.AddInt(20, static_cast<int64_t>(attribute.kind));
  out.AddFields(attribute.extra);
  return out;
}

WireBuffer Serializer::TensorProto(const Tensor& tensor) const {
  WireBuffer out;
  for (const int64_t dim : tensor.dims) out.AddInt(1, dim);
  out.AddInt(2, static_cast<int32_t>(tensor.dtype));
  for (const std::string& element : tensor.strings) out.AddString(6, element);
  AddIfNotEmpty(out, 8, tensor.name);
  const auto placed = placement_.offsets.find(&tensor);
  if (placed != placement_.offsets.end()) {
    AddIfNotEmpty(out, 12, tensor.doc_string);
    out.AddMessage(13, StringStringEntryProto("location", placement_.location));
    out.AddMessage(13, StringStringEntryProto("offset", absl::StrCat(placed->second)));
    out.AddMessage(13, StringStringEntryProto("length", absl::StrCat(tensor.byte_size())));
    out.AddInt(14, 1);
  } else {
    if (tensor.byte_size() > 0) out.AddPayload(9, tensor.data);
    AddIfNotEmpty(out, 12, tensor.doc_string);
  }
  out.AddFields(tensor.extra);
  return out;
}

WireBuffer Serializer::FunctionProto(const Function& function) const {
  WireBuffer out;
  AddIfNotEmpty(out, 1, function.name);
  for (const ValueInfo& input : function.body->inputs) out.AddString(4, input.name);
  for (const ValueInfo& output : function.body->outputs) out.AddString(5, output.name);
  for (const auto& node : function.body->nodes) out.AddMessage(7, NodeProto(*node));
  AddOpsetImports(out, 9, function.opset_imports);
  AddIfNotEmpty(out, 10, function.domain);
  AddIfNotEmpty(out, 13, function.overload);
  out.AddFields(function.extra);
  return out;
}

}  // namespace

WireBuffer ModelToWire(const Model& model, const ExternalPlacement& placement) {
  return Serializer(placement).ModelProto(model);
}

}  // namespace lathe::engine
