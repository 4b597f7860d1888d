#include "worker/engine/graph/wire_buffer.h"

#include "worker/engine/graph/wire_reader.h"

namespace lathe::engine {
namespace {

// Below this, copying costs less than keeping a reference.
constexpr int64_t kReferenceBytes = 1024;

constexpr uint32_t Number(WireType type) { return static_cast<uint32_t>(type); }

}  // namespace

void WireBuffer::AddVarint(uint64_t value) {
  while (value >= 0x80) {
    text_.push_back(static_cast<char>(value | 0x80));
    value >>= 7;
  }
  text_.push_back(static_cast<char>(value));
}

void WireBuffer::AddInt(uint32_t field, int64_t value) {
  AddTag(field, Number(WireType::kVarint));
  AddVarint(static_cast<uint64_t>(value));
}

void WireBuffer::AddFloat(uint32_t field, float value) {
  AddTag(field, Number(WireType::kFixed32));
  text_.append(reinterpret_cast<const char*>(&value), sizeof(value));
}

void WireBuffer::AddString(uint32_t field, absl::string_view value) {
  AddTag(field, Number(WireType::kBytes));
  AddVarint(value.size());
  text_.append(value.data(), value.size());
}

void WireBuffer::AddPayload(uint32_t field, const Bytes& value) {
  if (value.size() < kReferenceBytes) return AddString(field, value.view());
  AddStart(field, value.size());
  references_.push_back({text_.size(), value});
  referenced_bytes_ += value.size();
}

void WireBuffer::AddStart(uint32_t field, int64_t bytes) {
  AddTag(field, Number(WireType::kBytes));
  AddVarint(static_cast<uint64_t>(bytes));
}

int64_t WireBuffer::SizeWithPayload(uint32_t field, int64_t bytes) const {
  WireBuffer start;
  start.AddStart(field, bytes);
  return size() + start.size() + bytes;
}

void WireBuffer::AddMessage(uint32_t field, const WireBuffer& message) {
  AddTag(field, Number(WireType::kBytes));
  AddVarint(static_cast<uint64_t>(message.size()));
  for (const Reference& reference : message.references_) {
    references_.push_back({text_.size() + reference.at, reference.bytes});
  }
  referenced_bytes_ += message.referenced_bytes_;
  text_ += message.text_;
}

}  // namespace lathe::engine
