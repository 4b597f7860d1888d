#include "worker/engine/graph/tensor_reader.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/checked.h"
#include "common/limits.h"
#include "common/status_macros.h"

namespace lathe::engine {
namespace {

// Field numbers of TensorProto.
enum : uint32_t {
  kDims = 1,
  kDataType = 2,
  kSegment = 3,
  kFloatData = 4,
  kInt32Data = 5,
  kStringData = 6,
  kInt64Data = 7,
  kName = 8,
  kRawData = 9,
  kDoubleData = 10,
  kUint64Data = 11,
  kDocString = 12,
  kExternalData = 13,
  kDataLocation = 14,
};

bool IsTypedData(uint32_t field) {
  return field == kFloatData || field == kInt32Data || field == kStringData ||
         field == kInt64Data || field == kDoubleData || field == kUint64Data;
}

absl::string_view FieldName(uint32_t field) {
  switch (field) {
    case kFloatData:
      return "float_data";
    case kInt32Data:
      return "int32_data";
    case kStringData:
      return "string_data";
    case kInt64Data:
      return "int64_data";
    case kDoubleData:
      return "double_data";
    case kUint64Data:
      return "uint64_data";
    default:
      return "raw_data";
  }
}

// The typed field that holds elements of a type, per onnx.proto.
uint32_t TypedFieldOf(DType dtype) {
  switch (dtype) {
    case DType::kFloat:
    case DType::kComplex64:
      return kFloatData;
    case DType::kDouble:
    case DType::kComplex128:
      return kDoubleData;
    case DType::kInt64:
      return kInt64Data;
    case DType::kUint32:
    case DType::kUint64:
      return kUint64Data;
    case DType::kString:
      return kStringData;
    default:
      return kInt32Data;
  }
}

class TensorReader {
 public:
  TensorReader(const TensorSource& source, absl::string_view message, const FieldPath& path)
      : source_(source), message_(message), path_(path) {}

  absl::StatusOr<Tensor> Read();

 private:
  absl::Status ReadHeader();
  absl::Status ReadExternalEntry(const WireReader& reader, const WireField& field);
  absl::Status ReadElements();
  absl::Status ReadUnknownType();
  absl::Status ReadStrings(int64_t count);
  absl::Status ReadTyped(int64_t expected_bytes);
  absl::Status AppendTyped(const WireReader& reader, const WireField& field,
                           std::string& out) const;
  absl::Status Error(absl::string_view problem) const;

  const TensorSource& source_;
  const absl::string_view message_;
  const FieldPath& path_;

  Tensor tensor_;
  std::optional<absl::string_view> raw_;
  ExternalEntries external_entries_;
  bool external_ = false;
  uint32_t typed_field_ = 0;  // number of the typed field that occurs; 0: none
  int64_t typed_occurrences_ = 0;
};

absl::Status TensorReader::Error(absl::string_view problem) const {
  return source_.wire.Error(path_, message_.data(),
                            absl::StrCat("tensor '", tensor_.name, "': ", problem));
}

absl::StatusOr<Tensor> TensorReader::Read() {
  RETURN_IF_ERROR(ReadHeader());
  RETURN_IF_ERROR(ReadElements());
  return std::move(tensor_);
}

absl::Status TensorReader::ReadHeader() {
  WireReader reader(source_.wire, message_, path_);
  WireField field;
  while (reader.Next(field)) {
    int64_t number = 0;
    switch (field.number) {
      case kDims: {
        bool too_many = false;
        RETURN_IF_ERROR(reader.ForEachVarint(field, "dims", [&](uint64_t dim) {
          if (tensor_.dims.size() >= limits::kMaxTensorRank) {
            too_many = true;
          } else {
            tensor_.dims.push_back(static_cast<int64_t>(dim));
          }
        }));
        if (too_many) {
          return reader.Error(field, "dims",
                              absl::StrCat("more than ", limits::kMaxTensorRank, " dimensions"));
        }
        break;
      }
      case kDataType:
        RETURN_IF_ERROR(reader.GetInt(field, "data_type", number));
        tensor_.dtype = static_cast<DType>(static_cast<int32_t>(number));
        break;
      case kName:
        RETURN_IF_ERROR(reader.GetString(field, "name", tensor_.name));
        break;
      case kDocString:
        RETURN_IF_ERROR(reader.GetString(field, "doc_string", tensor_.doc_string));
        break;
      case kRawData: {
        absl::string_view raw;
        RETURN_IF_ERROR(reader.GetBytes(field, "raw_data", raw));
        raw_ = raw;
        break;
      }
      case kExternalData:
        RETURN_IF_ERROR(ReadExternalEntry(reader, field));
        break;
      case kDataLocation:
        RETURN_IF_ERROR(reader.GetInt(field, "data_location", number));
        if (number != 0 && number != 1) {
          return reader.Error(
              field, "data_location",
              absl::StrCat(number, " is unknown; expected 0 (in the file) or 1 (external)"));
        }
        external_ = number == 1;
        break;
      case kSegment:
        return reader.Error(field, "segment",
                            "tensors in segments are not supported; save the tensor whole");
      default:
        if (!IsTypedData(field.number)) {
          tensor_.extra.append(field.whole.data(), field.whole.size());
          break;
        }
        // An empty packed field says nothing; some exporters write one.
        if (field.type == WireType::kBytes && field.payload.empty() && field.number != kStringData)
          break;
        if (typed_field_ != 0 && typed_field_ != field.number) {
          return reader.Error(
              field, FieldName(field.number),
              absl::StrCat("the tensor has its elements in ", FieldName(typed_field_), " as well"));
        }
        typed_field_ = field.number;
        ++typed_occurrences_;
    }
  }
  return reader.status();
}

absl::Status TensorReader::ReadExternalEntry(const WireReader& parent, const WireField& field) {
  absl::string_view message;
  RETURN_IF_ERROR(parent.GetBytes(field, "external_data", message));
  const FieldPath path{&path_, "external_data", static_cast<int64_t>(external_entries_.size())};
  WireReader reader(source_.wire, message, path);
  std::pair<absl::string_view, absl::string_view> entry;
  WireField inner;
  while (reader.Next(inner)) {
    if (inner.number == 1) RETURN_IF_ERROR(reader.GetBytes(inner, "key", entry.first));
    if (inner.number == 2) RETURN_IF_ERROR(reader.GetBytes(inner, "value", entry.second));
  }
  external_entries_.push_back(entry);
  return reader.status();
}

absl::Status TensorReader::ReadElements() {
  if (raw_.has_value() && raw_->empty() && (typed_field_ != 0 || external_)) raw_.reset();
  if (raw_.has_value() && typed_field_ != 0) {
    return Error(absl::StrCat("has elements both in raw_data and in ", FieldName(typed_field_)));
  }
  if (external_ && (raw_.has_value() || typed_field_ != 0)) {
    return Error("has external data and elements in the file as well");
  }
  const std::string spelled_dims = absl::StrCat("[", absl::StrJoin(tensor_.dims, ","), "]");
  for (const int64_t dim : tensor_.dims) {
    if (dim < 0) return Error(absl::StrCat("negative dimension in dims ", spelled_dims));
  }
  const std::optional<int64_t> count = CheckedProduct(tensor_.dims);
  if (!count.has_value()) {
    return Error(
        absl::StrCat("the product of dims ", spelled_dims, " overflows; the file is damaged"));
  }
  if (tensor_.dtype == DType::kString) return ReadStrings(*count);
  if (!DTypeBits(tensor_.dtype).has_value()) return ReadUnknownType();

  const std::optional<int64_t> expected = DTypeBytes(tensor_.dtype, *count);
  if (!expected.has_value()) {
    return Error(absl::StrCat("dims ", spelled_dims, " of type ", DTypeName(tensor_.dtype),
                              " take more bytes than can be counted; the file is damaged"));
  }
  if (external_) {
    absl::StatusOr<Bytes> bytes = source_.external.Resolve(external_entries_, *expected);
    if (!bytes.ok()) return Error(bytes.status().message());
    tensor_.data = *std::move(bytes);
  } else if (raw_.has_value()) {
    tensor_.data = source_.Borrow(*raw_);
  } else if (typed_field_ != 0) {
    RETURN_IF_ERROR(ReadTyped(*expected));
  }
  if (tensor_.data.size() != *expected) {
    return Error(absl::StrCat("type ", DTypeName(tensor_.dtype), " with dims ", spelled_dims,
                              " takes ", *expected, " bytes, its data has ", tensor_.data.size(),
                              "; the file is damaged or was written wrongly"));
  }
  return absl::OkStatus();
}

absl::Status TensorReader::ReadUnknownType() {
  if (external_) {
    absl::StatusOr<Bytes> bytes = source_.external.Resolve(external_entries_, std::nullopt);
    if (!bytes.ok()) return Error(bytes.status().message());
    tensor_.data = *std::move(bytes);
  } else if (raw_.has_value()) {
    tensor_.data = source_.Borrow(*raw_);
  } else if (typed_field_ != 0) {
    WireReader reader(source_.wire, message_, path_);
    WireField field;
    while (reader.Next(field)) {
      if (field.number == typed_field_)
        tensor_.extra.append(field.whole.data(), field.whole.size());
    }
  }
  return absl::OkStatus();
}

absl::Status TensorReader::ReadStrings(int64_t count) {
  if (raw_.has_value() || external_ || (typed_field_ != 0 && typed_field_ != kStringData)) {
    return Error(absl::StrCat("elements of type string must be in string_data, not in ",
                              external_ ? "external data" : FieldName(typed_field_)));
  }
  if (typed_occurrences_ != count) {
    return Error(absl::StrCat("type string with dims [", absl::StrJoin(tensor_.dims, ","), "] has ",
                              count, " elements, string_data has ", typed_occurrences_));
  }
  WireReader reader(source_.wire, message_, path_);
  WireField field;
  while (reader.Next(field)) {
    if (field.number != kStringData) continue;
    std::string& element = tensor_.strings.emplace_back();
    RETURN_IF_ERROR(reader.GetString(field, "string_data", element));
  }
  return reader.status();
}

absl::Status TensorReader::ReadTyped(int64_t expected_bytes) {
  const uint32_t wanted = TypedFieldOf(tensor_.dtype);
  if (typed_field_ != wanted) {
    return Error(absl::StrCat("elements of type ", DTypeName(tensor_.dtype),
                              " must be in raw_data or ", FieldName(wanted), ", not in ",
                              FieldName(typed_field_)));
  }
  std::string elements;
  WireReader reader(source_.wire, message_, path_);
  WireField field;
  while (reader.Next(field)) {
    if (field.number != typed_field_) continue;
    const bool fixed = typed_field_ == kFloatData || typed_field_ == kDoubleData;
    if (fixed && typed_occurrences_ == 1 && field.type == WireType::kBytes) {
      // Packed floats are what raw_data is: little-endian, one after the other.
      tensor_.data = source_.Borrow(field.payload);
      return absl::OkStatus();
    }
    if (elements.empty()) {
      // An element takes at least a byte in the file and at most eight in memory.
      const auto in_file = static_cast<int64_t>(message_.size());
      elements.reserve(std::clamp<int64_t>(expected_bytes, 0, 8 * in_file));
    }
    RETURN_IF_ERROR(AppendTyped(reader, field, elements));
  }
  RETURN_IF_ERROR(reader.status());
  tensor_.data = Bytes::Own(std::move(elements));
  return absl::OkStatus();
}

template <typename T>
void Append(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

absl::Status TensorReader::AppendTyped(const WireReader& reader, const WireField& field,
                                       std::string& out) const {
  const absl::string_view name = FieldName(field.number);
  switch (field.number) {
    case kFloatData:
      return reader.ForEachFixed<float>(field, name, [&](float value) { Append(out, value); });
    case kDoubleData:
      return reader.ForEachFixed<double>(field, name, [&](double value) { Append(out, value); });
    case kInt64Data:
      return reader.ForEachVarint(field, name, [&](uint64_t value) { Append(out, value); });
    case kUint64Data:
      if (tensor_.dtype == DType::kUint64) {
        return reader.ForEachVarint(field, name, [&](uint64_t value) { Append(out, value); });
      }
      return reader.ForEachVarint(
          field, name, [&](uint64_t value) { Append(out, static_cast<uint32_t>(value)); });
    default:
      break;
  }
  // int32_data: one element each, or, for types below a byte, one byte of packed elements each.
  if (tensor_.dtype == DType::kBool) {
    return reader.ForEachVarint(field, name,
                                [&](uint64_t value) { out.push_back(value != 0 ? '\1' : '\0'); });
  }
  switch (DTypeBits(tensor_.dtype).value_or(0)) {
    case 32:
      return reader.ForEachVarint(
          field, name, [&](uint64_t value) { Append(out, static_cast<uint32_t>(value)); });
    case 16:
      return reader.ForEachVarint(
          field, name, [&](uint64_t value) { Append(out, static_cast<uint16_t>(value)); });
    default:
      return reader.ForEachVarint(field, name,
                                  [&](uint64_t value) { out.push_back(static_cast<char>(value)); });
  }
}

}  // namespace

absl::StatusOr<Tensor> ReadTensor(const TensorSource& source, absl::string_view message,
                                  const FieldPath& path) {
  return TensorReader(source, message, path).Read();
}

}  // namespace lathe::engine
