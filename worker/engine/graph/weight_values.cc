// Reading and writing a weight's values (declared in layers.h).
#include <cmath>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "worker/engine/graph/layers.h"

namespace lathe::engine {
namespace {

Tensor* MutableSource(const Weight& weight) {
  if (weight.source.graph == nullptr) return nullptr;
  if (weight.source.kind == WeightSource::Kind::kInitializer) {
    const auto found = weight.source.graph->initializers.find(weight.source.value);
    return found == weight.source.graph->initializers.end() ? nullptr : &found->second;
  }
  Attribute* value = weight.source.constant->FindAttribute("value");
  return value != nullptr && value->tensors.size() == 1 ? &value->tensors[0] : nullptr;
}

template <typename T, typename Fn>
std::string Encode(const std::vector<float>& values, const Fn& convert) {
  std::string bytes(values.size() * sizeof(T), '\0');
  for (size_t i = 0; i < values.size(); ++i) {
    const T element = convert(values[i]);
    std::memcpy(&bytes[i * sizeof(T)], &element, sizeof(T));
  }
  return bytes;
}

}  // namespace

const Tensor& SourceTensor(const Weight& weight) {
  static const Tensor* const kNone = new Tensor();
  const Tensor* tensor = MutableSource(weight);
  return tensor == nullptr ? *kNone : *tensor;
}

absl::StatusOr<std::vector<float>> ReadWeight(const Weight& weight) {
  const Tensor* tensor = MutableSource(weight);
  if (tensor == nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat("layer '", weight.name, "' has no dense constant to read"));
  }
  absl::StatusOr<std::vector<float>> values = tensor->ToFloats();
  if (!values.ok()) {
    return absl::Status(values.status().code(),
                        absl::StrCat("layer '", weight.name, "', weight '", weight.source_name,
                                     "': ", values.status().message()));
  }
  tensor->data.DropPages();  // the caller has a copy; two would be one too many
  for (size_t i = 0; i < values->size(); ++i) {
    if (std::isfinite((*values)[i])) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        "layer '", weight.name, "', weight '", weight.source_name, "': element ", i, " is ",
        std::isnan((*values)[i]) ? "NaN" : "infinite",
        "; every weight must be finite: repair the model, or name the layer in `skip`"));
  }
  return values;
}

absl::Status WriteWeight(const Weight& weight, std::vector<float> values) {
  Tensor* tensor = MutableSource(weight);
  if (tensor == nullptr) {
    return absl::FailedPreconditionError(
        absl::StrCat("layer '", weight.name, "' has no dense constant to write"));
  }
  if (static_cast<int64_t>(values.size()) != tensor->size()) {
    return absl::InvalidArgumentError(absl::StrCat("layer '", weight.name, "' has ", tensor->size(),
                                                   " elements, ", values.size(), " were given"));
  }
  std::string bytes;
  switch (tensor->dtype) {
    case DType::kFloat:
      bytes = Encode<float>(values, [](float v) { return v; });
      break;
    case DType::kDouble:
      bytes = Encode<double>(values, [](float v) { return static_cast<double>(v); });
      break;
    case DType::kFloat16:
      bytes = Encode<uint16_t>(values, FloatToHalf);
      break;
    case DType::kBfloat16:
      bytes = Encode<uint16_t>(values, FloatToBfloat16);
      break;
    default:
      return absl::FailedPreconditionError(absl::StrCat(
          "layer '", weight.name, "' holds ", DTypeName(tensor->dtype), ", not a float type"));
  }
  tensor->data = Bytes::Own(std::move(bytes));
  return absl::OkStatus();
}

}  // namespace lathe::engine
