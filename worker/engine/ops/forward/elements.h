// Tensors of any type as elements of whole bytes, for operators that only move them.
#ifndef LATHE_WORKER_ENGINE_OPS_FORWARD_ELEMENTS_H_
#define LATHE_WORKER_ENGINE_OPS_FORWARD_ELEMENTS_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/engine/ops/forward/run_context.h"

namespace lathe::engine {

// The elements of a tensor, row-major, `width` bytes each: as they lie in memory where they are
// whole bytes; types of less than a byte unpacked, a byte each (the element's bits as they are);
// strings as pointers to them (nullptr: the empty string).
struct Elements {
  DType dtype = DType::kUndefined;
  Shape dims;
  int64_t count = 0;
  int64_t width = 0;
  const char* data = nullptr;
  std::shared_ptr<Buffer> held;  // what `data` points into, when it is not the value's own
};

// Of input `i`. INVALID_ARGUMENT when it is not a tensor. Valid while the input is.
absl::StatusOr<Elements> ReadElements(RunContext& ctx, size_t i);
absl::StatusOr<Elements> ReadElements(RunContext& ctx, const Value& value);

// An output under construction, its elements as above and not yet written. Finish() makes it the
// node's output; strings that it points to must still be there.
class ElementsOut {
 public:
  static absl::StatusOr<ElementsOut> Make(RunContext& ctx, size_t i, DType dtype, Shape dims);
  // By the shape rule.
  static absl::StatusOr<ElementsOut> Make(RunContext& ctx, size_t i);
  // Holding the elements of `in`, which was read from input `input`: in its memory when nobody else
  // needs it, a copy otherwise.
  static absl::StatusOr<ElementsOut> MakeCopy(RunContext& ctx, size_t i, const Elements& in,
                                              size_t input);

  char* data() const { return data_; }
  int64_t width() const { return width_; }
  int64_t count() const { return count_; }
  const Shape& dims() const { return dims_; }
  // Sets all bytes to zero: the number 0, or the empty string.
  void Clear();
  absl::Status Finish(RunContext& ctx);

 private:
  size_t output_ = 0;
  DType dtype_ = DType::kUndefined;
  Shape dims_;
  int64_t count_ = 0;
  int64_t width_ = 0;
  char* data_ = nullptr;
  std::shared_ptr<Buffer> held_;  // null: `data_` is the output's memory
};

// Calls fn(T()) with T an unsigned type of `width` bytes (16: a struct); for templates over widths.
struct Word128 {
  uint64_t halves[2];
};
template <typename Fn>
void ByWidth(int64_t width, const Fn& fn) {
  switch (width) {
    case 1:
      return fn(uint8_t{});
    case 2:
      return fn(uint16_t{});
    case 4:
      return fn(uint32_t{});
    case 8:
      return fn(uint64_t{});
    default:
      return fn(Word128{});
  }
}

// The integers of input `i`, each in [-extent, extent) and counted from the front on return.
// INVALID_ARGUMENT for another one.
absl::StatusOr<std::vector<int64_t>> ReadIndices(RunContext& ctx, size_t i, int64_t extent);

// Product of extents [begin, end) of a shape that a value has.
int64_t ExtentProduct(const Shape& dims, size_t begin, size_t end);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_OPS_FORWARD_ELEMENTS_H_
