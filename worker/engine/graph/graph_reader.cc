#include "worker/engine/graph/graph_reader.h"

#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "worker/engine/graph/value_info.h"

namespace lathe::engine {
namespace {

using Kind = Attribute::Kind;

void Keep(const WireField& field, std::string& extra) {
  extra.append(field.whole.data(), field.whole.size());
}

// The kind whose value lies in field `number` of AttributeProto.
std::optional<Kind> KindOfField(uint32_t number) {
  switch (number) {
    case 2:
      return Kind::kFloat;
    case 3:
      return Kind::kInt;
    case 4:
      return Kind::kString;
    case 5:
      return Kind::kTensor;
    case 6:
      return Kind::kGraph;
    case 7:
      return Kind::kFloats;
    case 8:
      return Kind::kInts;
    case 9:
      return Kind::kStrings;
    case 10:
      return Kind::kTensors;
    case 11:
      return Kind::kGraphs;
    default:
      return std::nullopt;
  }
}

constexpr uint32_t kAttributeName = 1;
constexpr uint32_t kAttributeType = 20;
constexpr uint32_t kAttributeReference = 21;

}  // namespace

std::string CanonicalDomain(std::string domain) {
  return domain == "ai.onnx" ? std::string() : std::move(domain);
}

absl::Status GraphReader::ReadGraph(absl::string_view message, const FieldPath& path, int depth,
                                    Graph& graph) {
  if (depth > limits::kMaxGraphDepth) {
    return source_.wire.Error(
        path, message.data(),
        absl::StrCat("graphs are nested deeper than ", limits::kMaxGraphDepth));
  }
  WireReader reader(source_.wire, message, path);
  WireField field;
  int64_t nodes = 0;
  int64_t initializers = 0;
  int64_t sparse_initializers = 0;
  int64_t value_infos = 0;
  while (reader.Next(field)) {
    absl::string_view inner;
    switch (field.number) {
      case 1: {
        RETURN_IF_ERROR(reader.GetBytes(field, "node", inner));
        RETURN_IF_ERROR(ReadNode(inner, FieldPath{&path, "node", nodes++}, depth, graph));
        break;
      }
      case 2:
        RETURN_IF_ERROR(reader.GetString(field, "name", graph.name));
        break;
      case 5:
        RETURN_IF_ERROR(reader.GetBytes(field, "initializer", inner));
        RETURN_IF_ERROR(
            ReadInitializer(inner, FieldPath{&path, "initializer", initializers++}, graph));
        break;
      case 10:
        RETURN_IF_ERROR(reader.GetString(field, "doc_string", graph.doc_string));
        break;
      case 11:
      case 12: {
        const bool input = field.number == 11;
        const absl::string_view name = input ? "input" : "output";
        std::vector<ValueInfo>& list = input ? graph.inputs : graph.outputs;
        RETURN_IF_ERROR(reader.GetBytes(field, name, inner));
        const FieldPath info_path{&path, name, static_cast<int64_t>(list.size())};
        RETURN_IF_ERROR(ReadValueInfo(inner, info_path, list.emplace_back()));
        break;
      }
      case 13: {
        RETURN_IF_ERROR(reader.GetBytes(field, "value_info", inner));
        ValueInfo info;
        RETURN_IF_ERROR(ReadValueInfo(inner, FieldPath{&path, "value_info", value_infos++}, info));
        std::string name = info.name;
        graph.value_infos.insert_or_assign(std::move(name), std::move(info));
        break;
      }
      case 15:
        RETURN_IF_ERROR(reader.GetBytes(field, "sparse_initializer", inner));
        RETURN_IF_ERROR(ReadSparseInitializer(
            inner, FieldPath{&path, "sparse_initializer", sparse_initializers++}, graph));
        break;
      default:
        Keep(field, graph.extra);
    }
  }
  return reader.status();
}

absl::Status GraphReader::ReadNode(absl::string_view message, const FieldPath& path, int depth,
                                   Graph& graph) {
  if (++nodes_ > limits::kMaxNodes) {
    return source_.wire.Error(
        path, message.data(),
        absl::StrCat("the model has more than ", limits::kMaxNodes, " nodes"));
  }
  Node& node = *graph.nodes.emplace_back(std::make_unique<Node>());
  WireReader reader(source_.wire, message, path);
  WireField field;
  while (reader.Next(field)) {
    switch (field.number) {
      case 1:
        RETURN_IF_ERROR(reader.GetString(field, "input", node.inputs.emplace_back()));
        break;
      case 2:
        RETURN_IF_ERROR(reader.GetString(field, "output", node.outputs.emplace_back()));
        break;
      case 3:
        RETURN_IF_ERROR(reader.GetString(field, "name", node.name));
        break;
      case 4:
        RETURN_IF_ERROR(reader.GetString(field, "op_type", node.op_type));
        break;
      case 5: {
        absl::string_view inner;
        RETURN_IF_ERROR(reader.GetBytes(field, "attribute", inner));
        const FieldPath inner_path{&path, "attribute",
                                   static_cast<int64_t>(node.attributes.size())};
        RETURN_IF_ERROR(
            ReadAttribute(inner, inner_path, depth, graph, node.attributes.emplace_back()));
        break;
      }
      case 6:
        RETURN_IF_ERROR(reader.GetString(field, "doc_string", node.doc_string));
        break;
      case 7:
        RETURN_IF_ERROR(reader.GetString(field, "domain", node.domain));
        node.domain = CanonicalDomain(std::move(node.domain));
        break;
      default:
        Keep(field, node.extra);
    }
  }
  return reader.status();
}

absl::Status GraphReader::ReadAttributeHeader(absl::string_view message, const FieldPath& path,
                                              Attribute& attribute) {
  WireReader reader(source_.wire, message, path);
  WireField field;
  std::optional<int64_t> type;
  std::optional<Kind> implied;
  bool reference = false;
  while (reader.Next(field)) {
    if (field.number == kAttributeName) {
      RETURN_IF_ERROR(reader.GetString(field, "name", attribute.name));
    } else if (field.number == kAttributeType) {
      RETURN_IF_ERROR(reader.GetInt(field, "type", type.emplace()));
    } else if (field.number == kAttributeReference) {
      reference = !(field.type == WireType::kBytes && field.payload.empty());
    } else if (!implied.has_value()) {
      implied = KindOfField(field.number);
    }
  }
  RETURN_IF_ERROR(reader.status());
  if (reference) {
    attribute.kind = Kind::kUndefined;
  } else if (!type.has_value() || *type == 0) {
    // Files before IR 2 do not say: the field that is there does.
    attribute.kind = implied.value_or(Kind::kUndefined);
  } else if (*type >= static_cast<int64_t>(Kind::kFloat) &&
             *type <= static_cast<int64_t>(Kind::kGraphs)) {
    attribute.kind = static_cast<Kind>(*type);
  }
  return absl::OkStatus();
}

absl::Status GraphReader::ReadAttribute(absl::string_view message, const FieldPath& path, int depth,
                                        Graph& parent, Attribute& attribute) {
  // The kind decides what is modelled, and may come last: hence two passes, neither of which looks
  // into nested messages twice.
  RETURN_IF_ERROR(ReadAttributeHeader(message, path, attribute));
  const bool modelled = attribute.kind != Kind::kUndefined;
  WireReader reader(source_.wire, message, path);
  WireField field;
  while (reader.Next(field)) {
    if (field.number == kAttributeName) continue;
    if (modelled && field.number == kAttributeType) continue;
    if (modelled && KindOfField(field.number) == attribute.kind) {
      RETURN_IF_ERROR(ReadAttributeValue(reader, field, path, depth, parent, attribute));
    } else {
      Keep(field, attribute.extra);
    }
  }
  RETURN_IF_ERROR(reader.status());
  const bool tensor_missing = attribute.kind == Kind::kTensor && attribute.tensors.size() != 1;
  const bool graph_missing = attribute.kind == Kind::kGraph && attribute.graphs.size() != 1;
  if (tensor_missing || graph_missing) {
    return source_.wire.Error(path, message.data(),
                              absl::StrCat("attribute '", attribute.name, "' must have one ",
                                           tensor_missing ? "tensor" : "graph", ", got ",
                                           attribute.tensors.size() + attribute.graphs.size()));
  }
  return absl::OkStatus();
}

absl::Status GraphReader::ReadAttributeValue(const WireReader& reader, const WireField& field,
                                             const FieldPath& path, int depth, Graph& parent,
                                             Attribute& attribute) {
  absl::string_view inner;
  switch (attribute.kind) {
    case Kind::kFloat:
      return reader.GetFloat(field, "f", attribute.f);
    case Kind::kInt:
      return reader.GetInt(field, "i", attribute.i);
    case Kind::kString:
      return reader.GetString(field, "s", attribute.s);
    case Kind::kFloats:
      return reader.ForEachFixed<float>(field, "floats",
                                        [&](float value) { attribute.floats.push_back(value); });
    case Kind::kInts:
      return reader.ForEachVarint(field, "ints", [&](uint64_t value) {
        attribute.ints.push_back(static_cast<int64_t>(value));
      });
    case Kind::kStrings:
      return reader.GetString(field, "strings", attribute.strings.emplace_back());
    case Kind::kTensor:
    case Kind::kTensors: {
      const bool one = attribute.kind == Kind::kTensor;
      const absl::string_view name = one ? "t" : "tensors";
      RETURN_IF_ERROR(reader.GetBytes(field, name, inner));
      const FieldPath inner_path{&path, name,
                                 one ? -1 : static_cast<int64_t>(attribute.tensors.size())};
      ASSIGN_OR_RETURN(Tensor tensor, ReadCountedTensor(inner, inner_path));
      attribute.tensors.push_back(std::move(tensor));
      return absl::OkStatus();
    }
    case Kind::kGraph:
    case Kind::kGraphs: {
      const bool one = attribute.kind == Kind::kGraph;
      const absl::string_view name = one ? "g" : "graphs";
      RETURN_IF_ERROR(reader.GetBytes(field, name, inner));
      const FieldPath inner_path{&path, name,
                                 one ? -1 : static_cast<int64_t>(attribute.graphs.size())};
      Graph& graph = *attribute.graphs.emplace_back(std::make_unique<Graph>());
      graph.parent = &parent;
      return ReadGraph(inner, inner_path, depth + 1, graph);
    }
    case Kind::kUndefined:
      break;
  }
  return absl::OkStatus();
}

absl::StatusOr<Tensor> GraphReader::ReadCountedTensor(absl::string_view message,
                                                      const FieldPath& path) {
  if (++tensors_ > limits::kMaxTensors) {
    return source_.wire.Error(
        path, message.data(),
        absl::StrCat("the model has more than ", limits::kMaxTensors, " tensors"));
  }
  return ReadTensor(source_, message, path);
}

absl::Status GraphReader::ReadInitializer(absl::string_view message, const FieldPath& path,
                                          Graph& graph) {
  ASSIGN_OR_RETURN(Tensor tensor, ReadCountedTensor(message, path));
  std::string name = tensor.name;
  if (!graph.initializers.try_emplace(name, std::move(tensor)).second) {
    return source_.wire.Error(
        path, message.data(),
        absl::StrCat("initializer '", name,
                     "' occurs twice; names must be unique, rename one of them"));
  }
  return absl::OkStatus();
}

absl::Status GraphReader::ReadSparseInitializer(absl::string_view message, const FieldPath& path,
                                                Graph& graph) {
  // Passed through as it is; read for the name, which is that of `values`, and because a reference
  // to external data cannot be passed through.
  ExternalData no_folder(std::nullopt);
  const TensorSource inside_only{source_.wire, source_.keep_alive, no_folder, source_.mapped};
  WireReader reader(source_.wire, message, path);
  WireField field;
  std::string name;
  while (reader.Next(field)) {
    if (field.number != 1 && field.number != 2) continue;
    const absl::string_view part = field.number == 1 ? "values" : "indices";
    absl::string_view inner;
    RETURN_IF_ERROR(reader.GetBytes(field, part, inner));
    ASSIGN_OR_RETURN(const Tensor tensor,
                     ReadTensor(inside_only, inner, FieldPath{&path, part, -1}));
    if (field.number == 1) name = tensor.name;
  }
  RETURN_IF_ERROR(reader.status());
  if (!graph.sparse_initializers.try_emplace(name, source_.Borrow(message)).second) {
    return source_.wire.Error(path, message.data(),
                              absl::StrCat("sparse initializer '", name, "' occurs twice"));
  }
  return absl::OkStatus();
}

absl::Status GraphReader::ReadValueInfo(absl::string_view message, const FieldPath& path,
                                        ValueInfo& info) {
  if (++value_infos_ > limits::kMaxTensors) {
    return source_.wire.Error(
        path, message.data(),
        absl::StrCat("the model declares more than ", limits::kMaxTensors, " values"));
  }
  if (!ParseValueInfo(message, info)) {
    return source_.wire.Error(path, message.data(),
                              "is not a ValueInfoProto, or its type is nested too deeply");
  }
  return absl::OkStatus();
}

}  // namespace lathe::engine
