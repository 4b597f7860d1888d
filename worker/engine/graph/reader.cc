#include "worker/engine/graph/reader.h"

#include <limits>
#include <memory>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "onnx/onnx_pb.h"
#include "worker/engine/graph/external_data.h"
#include "worker/engine/graph/graph_reader.h"
#include "worker/engine/graph/mapped_file.h"
#include "worker/engine/graph/tensor_reader.h"
#include "worker/engine/graph/topology.h"
#include "worker/engine/graph/wire_reader.h"

namespace lathe::engine {
namespace {

class ModelReader {
 public:
  ModelReader(const WireSource& wire, const TensorSource& tensors)
      : wire_(wire), graphs_(tensors) {}

  absl::StatusOr<Model> Read();

 private:
  absl::Status ReadFunction(absl::string_view message, const FieldPath& path, Function& function);
  absl::Status ReadOpsetImport(const WireReader& reader, const WireField& field,
                               const FieldPath& path, std::map<std::string, int64_t>& imports);

  const WireSource& wire_;
  GraphReader graphs_;
};

absl::Status ModelReader::ReadOpsetImport(const WireReader& reader, const WireField& field,
                                          const FieldPath& path,
                                          std::map<std::string, int64_t>& imports) {
  absl::string_view message;
  RETURN_IF_ERROR(reader.GetBytes(field, "opset_import", message));
  onnx::OperatorSetIdProto proto;
  if (message.size() > std::numeric_limits<int>::max() ||
      !proto.ParseFromArray(message.data(), static_cast<int>(message.size()))) {
    return reader.Error(field, "opset_import", "is not an OperatorSetIdProto");
  }
  imports[CanonicalDomain(proto.domain())] = proto.version();
  return absl::OkStatus();
}

absl::StatusOr<Model> ModelReader::Read() {
  const FieldPath root;
  const FieldPath graph_path{nullptr, "graph", -1};
  Model model;
  WireReader reader(wire_, wire_.bytes, root);
  WireField field;
  while (reader.Next(field)) {
    switch (field.number) {
      case 1:
        RETURN_IF_ERROR(reader.GetInt(field, "ir_version", model.ir_version));
        break;
      case 7: {
        absl::string_view message;
        RETURN_IF_ERROR(reader.GetBytes(field, "graph", message));
        if (model.graph != nullptr)
          return reader.Error(field, "graph", "occurs twice; a model has one graph");
        model.graph = std::make_unique<Graph>();
        RETURN_IF_ERROR(graphs_.ReadGraph(message, graph_path, 0, *model.graph));
        break;
      }
      case 8:
        RETURN_IF_ERROR(ReadOpsetImport(reader, field, root, model.opset_imports));
        break;
      case 25: {
        absl::string_view message;
        RETURN_IF_ERROR(reader.GetBytes(field, "functions", message));
        const FieldPath path{nullptr, "functions", static_cast<int64_t>(model.functions.size())};
        RETURN_IF_ERROR(ReadFunction(message, path, model.functions.emplace_back()));
        break;
      }
      default:
        model.extra.append(field.whole.data(), field.whole.size());
    }
  }
  RETURN_IF_ERROR(reader.status());
  if (model.graph == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat(
        wire_.name,
        ": is a protobuf without a graph, so not an ONNX model; give the .onnx file itself"));
  }
  SortNodes(*model.graph);
  for (Function& function : model.functions) SortNodes(*function.body);
  return model;
}

absl::Status ModelReader::ReadFunction(absl::string_view message, const FieldPath& path,
                                       Function& function) {
  function.body = std::make_unique<Graph>();
  Graph& body = *function.body;
  WireReader reader(wire_, message, path);
  WireField field;
  while (reader.Next(field)) {
    switch (field.number) {
      case 1:
        RETURN_IF_ERROR(reader.GetString(field, "name", function.name));
        break;
      case 4:
        RETURN_IF_ERROR(reader.GetString(field, "input", body.inputs.emplace_back().name));
        break;
      case 5:
        RETURN_IF_ERROR(reader.GetString(field, "output", body.outputs.emplace_back().name));
        break;
      case 7: {
        absl::string_view node;
        RETURN_IF_ERROR(reader.GetBytes(field, "node", node));
        const FieldPath node_path{&path, "node", static_cast<int64_t>(body.nodes.size())};
        RETURN_IF_ERROR(graphs_.ReadNode(node, node_path, 0, body));
        break;
      }
      case 9:
        RETURN_IF_ERROR(ReadOpsetImport(reader, field, path, function.opset_imports));
        break;
      case 10:
        RETURN_IF_ERROR(reader.GetString(field, "domain", function.domain));
        function.domain = CanonicalDomain(std::move(function.domain));
        break;
      case 13:
        RETURN_IF_ERROR(reader.GetString(field, "overload", function.overload));
        break;
      default:
        function.extra.append(field.whole.data(), field.whole.size());
    }
  }
  body.name = function.name;
  return reader.status();
}

absl::StatusOr<Model> Read(absl::string_view bytes, const std::string& name,
                           const std::shared_ptr<const void>& keep_alive, bool mapped,
                           ExternalData& external) {
  if (bytes.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(name, ": is empty (0 bytes); export or upload the model again"));
  }
  if (static_cast<int64_t>(bytes.size()) > limits::kMaxModelProtoBytes) {
    return absl::InvalidArgumentError(absl::StrCat(name, ": has ", bytes.size(), " bytes, at most ",
                                                   limits::kMaxModelProtoBytes,
                                                   " are read; save its weights as external data"));
  }
  const WireSource wire{bytes, name};
  const TensorSource tensors{wire, keep_alive, external, mapped};
  return ModelReader(wire, tensors).Read();
}

// "a/b/" of "a/b/model.onnx"; "" without a folder.
std::string FolderOf(const std::string& file) { return file.substr(0, file.rfind('/') + 1); }

}  // namespace

absl::StatusOr<Model> ReadModel(const std::string& folder, const std::string& main_file) {
  ASSIGN_OR_RETURN(const std::shared_ptr<const MappedFile> file,
                   MappedFile::Open(folder, main_file, MappedFile::Links::kFollow));
  // ONNX has locations relative to the main file's folder.
  const std::string sub_folder = FolderOf(main_file);
  ExternalData external(
      sub_folder.empty() ? folder : absl::StrCat(folder, folder.empty() ? "" : "/", sub_folder));
  ASSIGN_OR_RETURN(Model model, Read(file->bytes(), main_file, file, /*mapped=*/true, external));
  model.source_files.push_back(main_file);
  for (const std::string& data_file : external.files())
    model.source_files.push_back(sub_folder + data_file);
  return model;
}

absl::StatusOr<Model> ReadModelFromBytes(absl::string_view bytes, const std::string& folder) {
  const auto copy = std::make_shared<const std::string>(bytes);
  ExternalData external(folder.empty() ? std::nullopt : std::optional<std::string>(folder));
  ASSIGN_OR_RETURN(Model model, Read(*copy, "model", copy, /*mapped=*/false, external));
  for (const std::string& data_file : external.files()) model.source_files.push_back(data_file);
  return model;
}

}  // namespace lathe::engine
