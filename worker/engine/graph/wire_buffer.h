// A protobuf message under construction: small fields as text, large tensor data by reference. So
// the writer knows every length before it writes, and never holds a second copy of the weights.
#ifndef LATHE_WORKER_ENGINE_GRAPH_WIRE_BUFFER_H_
#define LATHE_WORKER_ENGINE_GRAPH_WIRE_BUFFER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "worker/engine/tensor/tensor.h"

namespace lathe::engine {

class WireBuffer {
 public:
  void AddInt(uint32_t field, int64_t value);
  void AddFloat(uint32_t field, float value);
  void AddString(uint32_t field, absl::string_view value);
  // As AddString, but large values are referenced.
  void AddPayload(uint32_t field, const Bytes& value);
  // Tag and length of a value of `bytes` bytes that somebody else appends.
  void AddStart(uint32_t field, int64_t bytes);
  void AddMessage(uint32_t field, const WireBuffer& message);
  // Fields that are serialized already.
  void AddFields(absl::string_view serialized) {
    text_.append(serialized.data(), serialized.size());
  }

  // Bytes of the serialized message.
  int64_t size() const { return static_cast<int64_t>(text_.size()) + referenced_bytes_; }
  // What it would be with a value of `bytes` bytes in `field`.
  int64_t SizeWithPayload(uint32_t field, int64_t bytes) const;

  // Calls fn(absl::string_view) for the pieces of the serialized message, in order, as long as fn
  // returns true. False when it did not. Pieces that lie in mapped files leave memory after their
  // call.
  template <typename Fn>
  bool ForEachPiece(Fn&& fn) const {
    const absl::string_view text(text_);
    size_t done = 0;
    for (const Reference& reference : references_) {
      if (reference.at > done && !fn(text.substr(done, reference.at - done))) return false;
      done = reference.at;
      const bool go_on = fn(reference.bytes.view());
      reference.bytes.DropPages();
      if (!go_on) return false;
    }
    return done == text.size() || fn(text.substr(done));
  }

 private:
  struct Reference {
    size_t at;  // the bytes stand before text_[at]
    Bytes bytes;
  };

  void AddVarint(uint64_t value);
  void AddTag(uint32_t field, uint32_t wire_type) { AddVarint(uint64_t{field} << 3 | wire_type); }

  std::string text_;
  std::vector<Reference> references_;  // by `at`
  int64_t referenced_bytes_ = 0;
};

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_GRAPH_WIRE_BUFFER_H_
