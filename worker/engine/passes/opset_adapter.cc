#include "worker/engine/passes/opset_adapter.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace lathe::engine {
namespace {

bool IsOtherFloat(DType dtype) { return IsFloat(dtype) && dtype != DType::kFloat; }

const ValueInfo* Declared(const Graph& graph, const std::string& value) {
  const auto info = graph.value_infos.find(value);
  if (info != graph.value_infos.end()) return &info->second;
  for (const std::vector<ValueInfo>* list : {&graph.inputs, &graph.outputs}) {
    for (const ValueInfo& candidate : *list) {
      if (candidate.name == value) return &candidate;
    }
  }
  return nullptr;
}

}  // namespace

std::string AdapterContext::Stem() const {
  if (!node_->name.empty()) return node_->name;
  return node_->outputs.empty() ? node_->op_type : node_->outputs[0];
}

std::string AdapterContext::FreshValue(const std::string& what) {
  return names_.Fresh(absl::StrCat(Stem(), "_", what));
}

std::string AdapterContext::Share(Tensor tensor, const std::string& what) {
  std::string key = absl::StrCat(static_cast<int>(tensor.dtype), ":");
  for (const int64_t extent : tensor.dims) absl::StrAppend(&key, extent, ",");
  absl::StrAppend(&key, ":", tensor.data.view());
  const auto [slot, fresh] = shared_.try_emplace(std::move(key));
  if (fresh) {
    slot->second = FreshValue(what);
    tensor.name = slot->second;
    constants.push_back(std::move(tensor));
  }
  return slot->second;
}

std::string AdapterContext::Int64s(const std::string& what, const Shape& dims,
                                   std::span<const int64_t> values) {
  return Share(Tensor::FromInt64s("", dims, values), what);
}

std::string AdapterContext::Floats(const std::string& what, DType dtype, const Shape& dims,
                                   const std::vector<float>& values) {
  Tensor tensor = Tensor::FromFloats("", dims, values);
  if (dtype != DType::kFloat) {
    std::string bytes;
    for (const float value : values) {
      const auto append = [&bytes](const auto element) {
        bytes.append(reinterpret_cast<const char*>(&element), sizeof(element));
      };
      if (dtype == DType::kDouble) append(static_cast<double>(value));
      if (dtype == DType::kFloat16) append(FloatToHalf(value));
      if (dtype == DType::kBfloat16) append(FloatToBfloat16(value));
    }
    tensor.dtype = dtype;
    tensor.data = Bytes::Own(std::move(bytes));
  }
  return Share(std::move(tensor), what);
}

namespace {

Node& Append(std::vector<std::unique_ptr<Node>>& nodes, const std::string& op,
             std::vector<std::string> inputs, std::string name, std::string output) {
  auto node = std::make_unique<Node>();
  node->op_type = op;
  node->name = std::move(name);
  node->inputs = std::move(inputs);
  node->outputs = {std::move(output)};
  nodes.push_back(std::move(node));
  return *nodes.back();
}

}  // namespace

Node& AdapterContext::Before(const std::string& op, std::vector<std::string> inputs,
                             const std::string& what) {
  return Append(before, op, std::move(inputs), FreshValue(absl::StrCat(what, "_node")),
                FreshValue(what));
}

Node& AdapterContext::After(const std::string& op, std::vector<std::string> inputs,
                            const std::string& what) {
  return Append(after, op, std::move(inputs), FreshValue(absl::StrCat(what, "_node")),
                FreshValue(what));
}

std::optional<int64_t> AdapterContext::RankOf(const std::string& value) const {
  for (const Graph* graph = &graph_; graph != nullptr; graph = graph->parent) {
    const auto tensor = graph->initializers.find(value);
    if (tensor != graph->initializers.end()) return tensor->second.dims.size();
    if (const ValueInfo* info = Declared(*graph, value)) {
      if (!info->dims.has_value()) return std::nullopt;
      return info->dims->size();
    }
  }
  return std::nullopt;
}

std::optional<DType> AdapterContext::FloatTypeOf(const std::string& value) const {
  for (const Graph* graph = &graph_; graph != nullptr; graph = graph->parent) {
    const auto tensor = graph->initializers.find(value);
    if (tensor != graph->initializers.end()) return tensor->second.dtype;
    const ValueInfo* info = Declared(*graph, value);
    if (info != nullptr && info->dtype != DType::kUndefined) return info->dtype;
  }
  if (MentionsOtherFloats()) return std::nullopt;
  return DType::kFloat;
}

bool AdapterContext::MentionsOtherFloats() const {
  if (mentions_other_floats_.has_value()) return *mentions_other_floats_;
  bool found = false;
  ForEachGraph(model_, [&found](const Graph& graph) {
    for (const auto& [name, tensor] : graph.initializers)
      found = found || IsOtherFloat(tensor.dtype);
    for (const auto& [name, info] : graph.value_infos) found = found || IsOtherFloat(info.dtype);
    for (const ValueInfo& input : graph.inputs) found = found || IsOtherFloat(input.dtype);
    for (const auto& node : graph.nodes) {
      for (const char* type : {"to", "dtype"}) {
        found = found || IsOtherFloat(static_cast<DType>(node->IntAttribute(type, 0)));
      }
      for (const Attribute& attribute : node->attributes) {
        for (const Tensor& tensor : attribute.tensors) found = found || IsOtherFloat(tensor.dtype);
      }
    }
  });
  mentions_other_floats_ = found;
  return found;
}

const Tensor* AdapterContext::ConstantOf(const std::string& value) const {
  for (const Graph* graph = &graph_; graph != nullptr; graph = graph->parent) {
    const auto tensor = graph->initializers.find(value);
    if (tensor != graph->initializers.end()) return &tensor->second;
    for (const Tensor& added : constants) {
      if (added.name == value) return &added;
    }
    for (const auto& node : graph->nodes) {
      // Nodes that were already moved to the new list are not looked at; the caller keeps them
      // until it is done.
      if (node == nullptr ||
          std::find(node->outputs.begin(), node->outputs.end(), value) == node->outputs.end()) {
        continue;
      }
      const Attribute* found = node->FindAttribute("value");
      const bool constant = node->Is("Constant") && found != nullptr && found->tensors.size() == 1;
      return constant ? &found->tensors[0] : nullptr;
    }
  }
  return nullptr;
}

}  // namespace lathe::engine
