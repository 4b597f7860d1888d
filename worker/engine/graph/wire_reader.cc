#include "worker/engine/graph/wire_reader.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "common/limits.h"

namespace lathe::engine {
namespace {

absl::string_view WireTypeName(WireType type) {
  switch (type) {
    case WireType::kVarint:
      return "an integer";
    case WireType::kFixed64:
      return "8 fixed bytes";
    case WireType::kBytes:
      return "a string or message";
    case WireType::kStartGroup:
    case WireType::kEndGroup:
      return "a group";
    case WireType::kFixed32:
      return "4 fixed bytes";
  }
  return "nothing known";
}

}  // namespace

std::string FieldPath::ToString() const {
  std::string text = parent == nullptr ? "" : parent->ToString();
  if (!text.empty() && !name.empty()) text += '.';
  absl::StrAppend(&text, name);
  if (index >= 0) absl::StrAppend(&text, "[", index, "]");
  return text;
}

absl::Status WireSource::Error(const FieldPath& path, const char* at,
                               absl::string_view problem) const {
  const std::string where = path.ToString();
  return absl::InvalidArgumentError(absl::StrCat(name, ": ", where, where.empty() ? "" : " ",
                                                 "at byte ", at - bytes.data(), ": ", problem));
}

const char* ReadVarint(const char* at, const char* end, uint64_t& value) {
  value = 0;
  for (int shift = 0; shift < 70; shift += 7) {
    if (at >= end) return nullptr;
    const auto byte = static_cast<uint8_t>(*at++);
    value |= static_cast<uint64_t>(byte & 0x7F) << shift;
    if (byte < 0x80) return at;
  }
  return nullptr;
}

bool WireReader::Fail(uint32_t field_number, const char* at, absl::string_view problem) {
  const std::string field = absl::StrCat("field ", field_number);
  const FieldPath path{&path_, field, -1};
  status_ = source_.Error(field_number == 0 ? path_ : path, at, problem);
  next_ = end_;
  return false;
}

bool WireReader::ReadTag(uint32_t& number, WireType& type) {
  const char* const start = next_;
  uint64_t tag;
  const char* after = ReadVarint(next_, end_, tag);
  if (after == nullptr) return Fail(0, start, "the tag of a field is cut off or too long");
  if ((tag >> 3) == 0 || tag > 0xFFFFFFFF) {
    return Fail(0, start,
                absl::StrCat("field number ", tag >> 3,
                             " does not exist; the bytes are damaged or not ONNX"));
  }
  const auto wire_type = static_cast<uint8_t>(tag & 7);
  number = static_cast<uint32_t>(tag >> 3);
  if (wire_type > 5) {
    return Fail(number, start,
                absl::StrCat("wire type ", wire_type,
                             " does not exist; the bytes are damaged or not ONNX"));
  }
  type = static_cast<WireType>(wire_type);
  next_ = after;
  return true;
}

bool WireReader::Next(WireField& field) {
  if (next_ >= end_ || !status_.ok()) return false;
  const char* const start = next_;
  if (!ReadTag(field.number, field.type)) return false;
  field.bits = 0;
  field.payload = {};
  const auto left = static_cast<uint64_t>(end_ - next_);
  switch (field.type) {
    case WireType::kVarint: {
      const char* after = ReadVarint(next_, end_, field.bits);
      if (after == nullptr)
        return Fail(field.number, start, "an integer is cut off or longer than 10 bytes");
      next_ = after;
      break;
    }
    case WireType::kFixed64:
    case WireType::kFixed32: {
      const uint64_t size = field.type == WireType::kFixed64 ? 8 : 4;
      if (left < size) {
        return Fail(
            field.number, start,
            absl::StrCat("needs ", size, " bytes, ", left, " are left; the file is truncated"));
      }
      std::memcpy(&field.bits, next_, size);
      field.payload = absl::string_view(next_, size);
      next_ += size;
      break;
    }
    case WireType::kBytes: {
      uint64_t length;
      const char* after = ReadVarint(next_, end_, length);
      if (after == nullptr)
        return Fail(field.number, start, "a length is cut off or longer than 10 bytes");
      const auto rest = static_cast<uint64_t>(end_ - after);
      if (length > rest) {
        return Fail(
            field.number, start,
            absl::StrCat("claims ", length, " bytes, ", rest,
                         " are left; the file is truncated or damaged: export or copy it again"));
      }
      field.payload = absl::string_view(after, length);
      next_ = after + length;
      break;
    }
    case WireType::kStartGroup:
      if (!SkipGroup(field.number)) return false;
      break;
    case WireType::kEndGroup:
      return Fail(field.number, start,
                  "a group ends that never began; the bytes are damaged or not ONNX");
  }
  field.whole = absl::string_view(start, next_ - start);
  return true;
}

bool WireReader::SkipGroup(uint32_t number) {
  // ONNX has no groups: they occur only in unknown fields, which pass through. A stack instead of
  // recursion.
  const char* const start = next_;
  std::vector<uint32_t> open = {number};
  while (!open.empty()) {
    if (next_ >= end_)
      return Fail(number, start, "a group does not end; the file is truncated or not ONNX");
    uint32_t inner;
    WireType type;
    const char* const field_start = next_;
    if (!ReadTag(inner, type)) return false;
    if (type == WireType::kStartGroup) {
      if (open.size() >= limits::kMaxWalkDepth) {
        return Fail(number, start,
                    absl::StrCat("groups are nested deeper than ", limits::kMaxWalkDepth));
      }
      open.push_back(inner);
    } else if (type == WireType::kEndGroup) {
      if (inner != open.back()) return Fail(number, field_start, "a group ends as another one");
      open.pop_back();
    } else {
      next_ = field_start;
      WireField ignored;
      if (!Next(ignored)) return false;
    }
  }
  return true;
}

absl::Status WireReader::Error(const WireField& field, absl::string_view name,
                               absl::string_view problem) const {
  const FieldPath path{&path_, name, -1};
  return source_.Error(path, field.whole.data(), problem);
}

absl::Status WireReader::WrongType(const WireField& field, absl::string_view name,
                                   absl::string_view expected) const {
  return Error(field, name,
               absl::StrCat("must be ", expected, ", got ", WireTypeName(field.type),
                            "; this is not an ONNX model, or a damaged one"));
}

absl::Status WireReader::GetInt(const WireField& field, absl::string_view name,
                                int64_t& out) const {
  if (field.type != WireType::kVarint) return WrongType(field, name, "an integer");
  out = static_cast<int64_t>(field.bits);
  return absl::OkStatus();
}

absl::Status WireReader::GetFloat(const WireField& field, absl::string_view name,
                                  float& out) const {
  if (field.type != WireType::kFixed32) return WrongType(field, name, "a float");
  out = std::bit_cast<float>(static_cast<uint32_t>(field.bits));
  return absl::OkStatus();
}

absl::Status WireReader::GetString(const WireField& field, absl::string_view name,
                                   std::string& out) const {
  absl::string_view bytes;
  if (absl::Status status = GetBytes(field, name, bytes); !status.ok()) return status;
  out.assign(bytes.data(), bytes.size());
  return absl::OkStatus();
}

absl::Status WireReader::GetBytes(const WireField& field, absl::string_view name,
                                  absl::string_view& out) const {
  if (field.type != WireType::kBytes) return WrongType(field, name, "a string or message");
  out = field.payload;
  return absl::OkStatus();
}

}  // namespace lathe::engine
