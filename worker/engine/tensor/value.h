// What flows along the edges of a graph while it runs: a tensor, a sequence of tensors, or an
// optional.
#ifndef LATHE_WORKER_ENGINE_TENSOR_VALUE_H_
#define LATHE_WORKER_ENGINE_TENSOR_VALUE_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "worker/engine/tensor/activation_memory.h"
#include "worker/engine/tensor/dtype.h"
#include "worker/engine/tensor/tensor.h"

namespace lathe::engine {

// How the elements of a float32 tensor [N, C, spatial...] lie in memory. Blocked: [N, ceil(C / b),
// spatial..., b], channels past C being zero; only operators that say so are given such values.
enum class Layout : uint8_t { kPlain, kBlocked8, kBlocked16 };

// 1, 8 or 16.
int64_t LayoutBlock(Layout layout);

// Copying shares the memory. Elements are little-endian and row-major; types of less than a byte
// are packed, low bits first, as in ONNX's raw_data; bool is a byte of 0 or 1.
struct Value {
  enum class Kind : uint8_t { kNone, kTensor, kSequence, kOptional };

  Kind kind = Kind::kNone;
  Layout layout = Layout::kPlain;
  // Of a tensor; of a sequence or optional, of its elements where known.
  DType dtype = DType::kUndefined;
  Shape dims;
  const char* data = nullptr;
  // What holds `data`: memory of the run, or something else (a constant, the caller's array).
  std::shared_ptr<Buffer> buffer;
  std::shared_ptr<const void> keep_alive;
  // Elements of a string tensor.
  std::shared_ptr<const std::vector<std::string>> strings;
  // Elements of a sequence; of an optional, none or one.
  std::shared_ptr<const std::vector<Value>> items;

  bool IsTensor() const { return kind == Kind::kTensor; }
  // Elements of a tensor.
  int64_t size() const;
  // Bytes that `data` points to; of strings 0.
  int64_t bytes() const;
  // Typed view of a tensor's elements in plain layout. T must fit dtype (float, double, int64_t,
  // int32_t, ..., bool as uint8_t, float16 and bfloat16 as uint16_t): not checked.
  template <typename T>
  std::span<const T> As() const {
    return {reinterpret_cast<const T*>(data), static_cast<size_t>(size())};
  }
  // Likewise, of a tensor whose memory is the run's and belongs to this value alone.
  template <typename T>
  std::span<T> Mutable() {
    return {reinterpret_cast<T*>(buffer->data()), static_cast<size_t>(size())};
  }

  // Borrows the tensor's bytes, or copies them once when they are not aligned for their type.
  static Value FromTensor(const Tensor& tensor);
  // Borrows an array of the caller's, which must outlive the value's use.
  static Value Borrow(DType dtype, Shape dims, const void* data);
  static Value FromStrings(Shape dims, std::vector<std::string> strings);
  static Value Sequence(DType dtype, std::vector<Value> items);
  static Value Optional(DType dtype, std::vector<Value> none_or_one);

  // Copies the elements. `name` is the tensor's. Dies on anything but a tensor in plain layout.
  Tensor ToTensor(std::string name) const;
};

// "float32[1, 3, 224, 224]", "sequence of 3", "nothing".
std::string Describe(const Value& value);

// Bytes of a tensor of that type, shape and layout; -1 on overflow or for a type without a size.
int64_t ValueBytes(DType dtype, const Shape& dims, Layout layout);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_TENSOR_VALUE_H_
