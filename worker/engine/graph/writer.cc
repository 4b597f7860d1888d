#include "worker/engine/graph/writer.h"

#include <functional>
#include <limits>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/status_macros.h"
#include "worker/engine/graph/mapped_file.h"
#include "worker/engine/graph/output_file.h"
#include "worker/engine/graph/serializer.h"

namespace lathe::engine {
namespace {

constexpr int64_t kMaxProtoBytes = std::numeric_limits<int32_t>::max();
constexpr int64_t kAlignment = 64;
constexpr int64_t kPageAlignment = 4096;
constexpr int64_t kPageAlignedFrom = int64_t{1} << 20;

using TensorFn = std::function<void(const Tensor&)>;

// Initializers of a graph and its subgraphs, or the tensors in attributes; in the order of the
// file.
void ForEachTensor(const Graph& graph, bool initializers, const TensorFn& fn) {
  if (initializers) {
    for (const auto& [name, tensor] : graph.initializers) fn(tensor);
  }
  for (const auto& node : graph.nodes) {
    for (const Attribute& attribute : node->attributes) {
      if (!initializers) {
        for (const Tensor& tensor : attribute.tensors) fn(tensor);
      }
      for (const auto& sub : attribute.graphs) ForEachTensor(*sub, initializers, fn);
    }
  }
}

void ForEachTensor(const Model& model, bool initializers, const TensorFn& fn) {
  ForEachTensor(*model.graph, initializers, fn);
  for (const Function& function : model.functions) ForEachTensor(*function.body, initializers, fn);
}

int64_t AlignmentOf(const Tensor& tensor) {
  return tensor.byte_size() >= kPageAlignedFrom ? kPageAlignment : kAlignment;
}

// The tensors of the data file in order, and their offsets.
struct DataFilePlan {
  ExternalPlacement placement;
  std::vector<const Tensor*> tensors;
  int64_t size_bytes = 0;

  void Add(const Tensor& tensor, int64_t threshold) {
    if (tensor.byte_size() < threshold || tensor.byte_size() == 0) return;
    const int64_t alignment = AlignmentOf(tensor);
    const int64_t offset = (size_bytes + alignment - 1) / alignment * alignment;
    if (!placement.offsets.emplace(&tensor, offset).second) return;
    tensors.push_back(&tensor);
    size_bytes = offset + tensor.byte_size();
  }
};

absl::Status PastProtobuf(int64_t bytes) {
  return absl::FailedPreconditionError(absl::StrCat(
      "the model takes ", bytes, " bytes in its main file, protobuf ends at ", kMaxProtoBytes,
      "; what the engine does not understand (training information, unknown fields) cannot be "
      "moved to external data"));
}

// What goes to which file.
struct FilesPlan {
  DataFilePlan data;
  WireBuffer wire;  // the main file
};

absl::StatusOr<FilesPlan> PlanFiles(const Model& model, const std::string& main_name,
                                    const WriteOptions& options) {
  FilesPlan plan;
  plan.data.placement.location = main_name + ".data";
  plan.wire = ModelToWire(model, plan.data.placement);
  for (const bool initializers : {true, false}) {
    if (plan.wire.size() <= options.max_single_file_bytes) break;
    ForEachTensor(model, initializers, [&](const Tensor& tensor) {
      plan.data.Add(tensor, options.external_threshold_bytes);
    });
    plan.wire = ModelToWire(model, plan.data.placement);
  }
  if (plan.wire.size() > kMaxProtoBytes) return PastProtobuf(plan.wire.size());
  return plan;
}

}  // namespace

absl::StatusOr<int64_t> WrittenBytes(const Model& model, const std::string& main_file,
                                     const WriteOptions& options) {
  ASSIGN_OR_RETURN(const std::vector<std::string> components, SafePathComponents(main_file));
  ASSIGN_OR_RETURN(const FilesPlan plan, PlanFiles(model, components.back(), options));
  return plan.wire.size() + plan.data.size_bytes;
}

absl::StatusOr<std::vector<WrittenFile>> WriteModel(const Model& model, const std::string& folder,
                                                    const std::string& main_file,
                                                    const WriteOptions& options) {
  ASSIGN_OR_RETURN(const std::vector<std::string> components, SafePathComponents(main_file));
  const std::string path = absl::StrJoin(components, "/");
  const std::string data_path = path + ".data";

  ASSIGN_OR_RETURN(const FilesPlan planned, PlanFiles(model, components.back(), options));
  const DataFilePlan& plan = planned.data;
  const WireBuffer& wire = planned.wire;
  std::vector<WrittenFile> files = {{path, wire.size()}};
  std::unique_ptr<OutputFile> data;
  if (!plan.tensors.empty()) {
    data = std::make_unique<OutputFile>(absl::StrCat(folder, "/", data_path));
    for (const Tensor* tensor : plan.tensors) {
      if (!data->AlignTo(AlignmentOf(*tensor)) || !data->Append(tensor->data.view())) break;
      tensor->data.DropPages();  // a model's size of them would be in memory else
    }
    RETURN_IF_ERROR(data->Finish());
    files.push_back({data_path, data->size()});
  }
  OutputFile main(absl::StrCat(folder, "/", path));
  wire.ForEachPiece([&](absl::string_view piece) { return main.Append(piece); });
  RETURN_IF_ERROR(main.Finish());
  if (data != nullptr) RETURN_IF_ERROR(data->Commit());
  RETURN_IF_ERROR(main.Commit());
  return files;
}

absl::StatusOr<std::string> SerializeModel(const Model& model) {
  const WireBuffer wire = ModelToWire(model, {});
  if (wire.size() > kMaxProtoBytes) return PastProtobuf(wire.size());
  std::string out;
  out.reserve(wire.size());
  wire.ForEachPiece([&](absl::string_view piece) {
    out.append(piece.data(), piece.size());
    return true;
  });
  return out;
}

}  // namespace lathe::engine
