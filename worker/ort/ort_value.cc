#include "worker/ort/ort_value.h"

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace lathe::ort {
namespace {

using engine::DType;
using engine::Value;

// ONNX Runtime numbers its element types as ONNX does, up to float4e2m1; what came later is not in
// every version.
constexpr DType kLastKnown = DType::kFloat4E2M1;

bool HasNumber(DType dtype) { return dtype > DType::kUndefined && dtype <= kLastKnown; }

absl::Status Refused(const std::string& name, const Value& value, const char* why) {
  return absl::InvalidArgumentError(
      absl::StrCat("input '", name, "' (", engine::Describe(value), ") ", why));
}

absl::StatusOr<Owned<OrtValue>> StringsToOrt(const ValueFactory& factory, const std::string& name,
                                             const Value& value) {
  std::vector<const char*> texts;
  if (value.strings != nullptr) {
    for (const std::string& text : *value.strings) {
      if (text.find('\0') != std::string::npos) {
        return Refused(name, value, "has a NUL within a string, which ONNX Runtime would cut");
      }
      texts.push_back(text.c_str());
    }
  }
  OrtValue* made = nullptr;
  RETURN_IF_ERROR(factory.api.Try(kCreateTensorAsOrtValue, factory.allocator, value.dims.data(),
                                  value.dims.size(), static_cast<int>(value.dtype), &made));
  Owned<OrtValue> owned = Own(factory.api, kReleaseValue, made);
  if (!texts.empty()) {
    RETURN_IF_ERROR(factory.api.Try(kFillStringTensor, made, texts.data(), texts.size()));
  }
  return owned;
}

absl::StatusOr<Value> StringsFromOrt(const Api& api, const OrtValue* value, engine::Shape dims) {
  size_t bytes = 0;
  RETURN_IF_ERROR(api.Try(kGetStringTensorDataLength, value, &bytes));
  size_t count = 1;
  for (const int64_t extent : dims) count *= static_cast<size_t>(extent);
  std::string all(bytes, '\0');
  std::vector<size_t> starts(count);
  if (count > 0) {
    RETURN_IF_ERROR(
        api.Try(kGetStringTensorContent, value, all.data(), bytes, starts.data(), count));
  }
  std::vector<std::string> texts;
  texts.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    const size_t end = i + 1 < count ? starts[i + 1] : bytes;
    if (starts[i] > end || end > bytes) {
      return absl::InternalError("ONNX Runtime gives strings that overlap");
    }
    texts.push_back(all.substr(starts[i], end - starts[i]));
  }
  return Value::FromStrings(std::move(dims), std::move(texts));
}

// Element type and shape of a tensor.
absl::StatusOr<Value> DescribeTensor(const Api& api, const OrtValue* value) {
  OrtTensorTypeAndShapeInfo* made = nullptr;
  RETURN_IF_ERROR(api.Try(kGetTensorTypeAndShape, value, &made));
  const Owned<OrtTensorTypeAndShapeInfo> info = Own(api, kReleaseTensorTypeAndShapeInfo, made);
  int type = 0;
  size_t rank = 0;
  RETURN_IF_ERROR(api.Try(kGetTensorElementType, info.get(), &type));
  RETURN_IF_ERROR(api.Try(kGetDimensionsCount, info.get(), &rank));
  engine::Shape dims(rank);
  RETURN_IF_ERROR(api.Try(kGetDimensions, info.get(), dims.data(), rank));
  const auto dtype = static_cast<DType>(type);
  if (!HasNumber(dtype) || engine::ValueBytes(dtype, dims, engine::Layout::kPlain) < 0) {
    return absl::InternalError(absl::StrCat("ONNX Runtime gives a tensor of element type ", type,
                                            " and rank ", rank,
                                            " that is not known here or has no size"));
  }
  return Value::Borrow(dtype, std::move(dims), nullptr);
}

}  // namespace

absl::StatusOr<Owned<OrtValue>> ToOrt(const ValueFactory& factory, const std::string& name,
                                      const Value& value) {
  if (!value.IsTensor() || value.layout != engine::Layout::kPlain) {
    return Refused(name, value, "is no tensor; ONNX Runtime is given tensors alone");
  }
  if (!HasNumber(value.dtype)) return Refused(name, value, "has a type that ONNX Runtime lacks");
  if (value.dtype == DType::kString) return StringsToOrt(factory, name, value);
  const int64_t bytes = value.bytes();
  if (bytes < 0) return Refused(name, value, "has no size");
  // A tensor without elements may have no memory, but ONNX Runtime takes no null pointer.
  static constexpr char kNothing[1] = {};
  const char* data = value.data == nullptr ? kNothing : value.data;
  OrtValue* made = nullptr;
  // Inputs are only read, whatever the type of the pointer says.
  RETURN_IF_ERROR(factory.api.Try(kCreateTensorWithDataAsOrtValue, factory.memory,
                                  const_cast<char*>(data), static_cast<size_t>(bytes),
                                  value.dims.data(), value.dims.size(),
                                  static_cast<int>(value.dtype), &made));
  return Own(factory.api, kReleaseValue, made);
}

absl::StatusOr<Value> FromOrt(const Api& api, Owned<OrtValue> value) {
  if (value == nullptr) return Value();
  int kind = 0;
  RETURN_IF_ERROR(api.Try(kGetValueType, value.get(), &kind));
  if (kind != kTensorValue) return Value();
  ASSIGN_OR_RETURN(Value out, DescribeTensor(api, value.get()));
  if (out.dtype == DType::kString) return StringsFromOrt(api, value.get(), std::move(out.dims));
  void* data = nullptr;
  RETURN_IF_ERROR(api.Try(kGetTensorMutableData, value.get(), &data));
  out.data = static_cast<const char*>(data);
  out.keep_alive = std::shared_ptr<const void>(std::move(value));
  return out;
}

}  // namespace lathe::ort
