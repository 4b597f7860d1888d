// A cursor over the protobuf wire format: what the reader takes models apart with. It copies
// nothing, so a tensor's bytes are a view into the mapped file, and every complaint knows its field
// path and byte offset.
//
// Fields the caller does not model are kept with `WireField::whole`, the exact bytes of tag and
// value.
#ifndef LATHE_WORKER_ENGINE_GRAPH_WIRE_READER_H_
#define LATHE_WORKER_ENGINE_GRAPH_WIRE_READER_H_

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace lathe::engine {

// Where in the nesting a message is: a chain of stack frames, spelled out only when there is
// something to report.
struct FieldPath {
  const FieldPath* parent = nullptr;
  absl::string_view name;
  int64_t index = -1;  // -1: not a repeated field

  // "graph.node[3].attribute[0]"
  std::string ToString() const;
};

// The whole protobuf, and what to call it in messages.
struct WireSource {
  absl::string_view bytes;
  std::string name;

  // INVALID_ARGUMENT: "<name>: <path> at byte <offset of at>: <problem>".
  absl::Status Error(const FieldPath& path, const char* at, absl::string_view problem) const;
};

enum class WireType : uint8_t {
  kVarint = 0,
  kFixed64 = 1,
  kBytes = 2,
  kStartGroup = 3,
  kEndGroup = 4,
  kFixed32 = 5,
};

struct WireField {
  uint32_t number = 0;
  WireType type = WireType::kVarint;
  uint64_t bits = 0;          // kVarint, kFixed32, kFixed64
  absl::string_view payload;  // kBytes: the content; fixed types: their bytes
  absl::string_view whole;    // tag and value
};

class WireReader {
 public:
  // `message` lies in `source.bytes`. All arguments must outlive the reader.
  WireReader(const WireSource& source, absl::string_view message, const FieldPath& path)
      : source_(source), path_(path), next_(message.data()), end_(next_ + message.size()) {}

  // Reads the next field; groups are skipped as a whole. False at the end of the message and on
  // errors: see status().
  bool Next(WireField& field);
  const absl::Status& status() const { return status_; }

  // The typed views of a field. INVALID_ARGUMENT when the field has another wire type. `name` is
  // the field's name.
  absl::Status GetInt(const WireField& field, absl::string_view name, int64_t& out) const;
  absl::Status GetFloat(const WireField& field, absl::string_view name, float& out) const;
  absl::Status GetString(const WireField& field, absl::string_view name, std::string& out) const;
  // Strings as they are, and messages.
  absl::Status GetBytes(const WireField& field, absl::string_view name,
                        absl::string_view& out) const;

  // Calls fn(uint64_t) for every element of a repeated integer, packed or not.
  template <typename Fn>
  absl::Status ForEachVarint(const WireField& field, absl::string_view name, Fn&& fn) const;
  // Calls fn(T) for every element of a repeated float or double, packed or not.
  template <typename T, typename Fn>
  absl::Status ForEachFixed(const WireField& field, absl::string_view name, Fn&& fn) const;

  absl::Status Error(const WireField& field, absl::string_view name,
                     absl::string_view problem) const;

 private:
  bool Fail(uint32_t field_number, const char* at, absl::string_view problem);
  bool ReadTag(uint32_t& number, WireType& type);
  bool SkipGroup(uint32_t number);
  absl::Status WrongType(const WireField& field, absl::string_view name,
                         absl::string_view expected) const;

  const WireSource& source_;
  const FieldPath& path_;
  const char* next_;
  const char* const end_;
  absl::Status status_;
};

// Reads a varint; nullptr when it runs past `end` or is longer than ten bytes, otherwise the
// position after it.
const char* ReadVarint(const char* at, const char* end, uint64_t& value);

template <typename Fn>
absl::Status WireReader::ForEachVarint(const WireField& field, absl::string_view name,
                                       Fn&& fn) const {
  if (field.type == WireType::kVarint) {
    fn(field.bits);
    return absl::OkStatus();
  }
  if (field.type != WireType::kBytes) return WrongType(field, name, "integers");
  const char* at = field.payload.data();
  const char* const end = at + field.payload.size();
  while (at < end) {
    uint64_t value;
    at = ReadVarint(at, end, value);
    if (at == nullptr)
      return Error(field, name, "a packed integer is cut off or longer than 10 bytes");
    fn(value);
  }
  return absl::OkStatus();
}

template <typename T, typename Fn>
absl::Status WireReader::ForEachFixed(const WireField& field, absl::string_view name,
                                      Fn&& fn) const {
  constexpr WireType kSingle = sizeof(T) == 4 ? WireType::kFixed32 : WireType::kFixed64;
  if (field.type != WireType::kBytes && field.type != kSingle) {
    return WrongType(field, name, sizeof(T) == 4 ? "floats" : "doubles");
  }
  if (field.payload.size() % sizeof(T) != 0) {
    return Error(field, name, "its length is not a multiple of the element size");
  }
  for (size_t i = 0; i < field.payload.size(); i += sizeof(T)) {
    T value;
    std::memcpy(&value, field.payload.data() + i, sizeof(T));
    fn(value);
  }
  return absl::OkStatus();
}

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_GRAPH_WIRE_READER_H_
