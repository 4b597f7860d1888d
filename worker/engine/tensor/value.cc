#include "worker/engine/tensor/value.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/checked.h"

namespace lathe::engine {
namespace {

// A bug of the caller.
[[noreturn]] void Die(const char* what, const std::string& detail) {
  std::fprintf(stderr, "Value: %s%s\n", what, detail.c_str());
  std::abort();
}

}  // namespace

int64_t LayoutBlock(Layout layout) {
  switch (layout) {
    case Layout::kPlain:
      return 1;
    case Layout::kBlocked8:
      return 8;
    case Layout::kBlocked16:
      return 16;
  }
  return 1;
}

int64_t ValueBytes(DType dtype, const Shape& dims, Layout layout) {
  if (dtype == DType::kString) return 0;
  Shape stored = dims;
  if (layout != Layout::kPlain && dims.size() > 1) {
    const int64_t block = LayoutBlock(layout);
    stored[1] = (stored[1] + block - 1) / block * block;
  }
  const std::optional<int64_t> elements = CheckedProduct(stored);
  if (!elements) return -1;
  return DTypeBytes(dtype, *elements).value_or(-1);
}

int64_t Value::size() const {
  int64_t elements = 1;
  for (const int64_t extent : dims) elements *= extent;
  return elements;
}

int64_t Value::bytes() const { return ValueBytes(dtype, dims, layout); }

Value Value::FromTensor(const Tensor& tensor) {
  Value value;
  value.kind = Kind::kTensor;
  value.dtype = tensor.dtype;
  value.dims = tensor.dims;
  if (tensor.dtype == DType::kString) {
    value.strings = std::make_shared<const std::vector<std::string>>(tensor.strings);
    return value;
  }
  const int64_t element = (DTypeBits(tensor.dtype).value_or(8) + 7) / 8;
  const char* bytes = tensor.data.view().data();
  if (reinterpret_cast<uintptr_t>(bytes) % static_cast<uintptr_t>(element) == 0) {
    auto held = std::make_shared<const Bytes>(tensor.data);
    value.data = held->view().data();
    value.keep_alive = std::move(held);
    return value;
  }
  const auto count = static_cast<size_t>(tensor.data.size());
  // new[] of 64-bit words is aligned for every element type.
  std::shared_ptr<uint64_t[]> copy(new uint64_t[count / 8 + 1]);
  std::memcpy(copy.get(), bytes, count);
  value.data = reinterpret_cast<const char*>(copy.get());
  value.keep_alive = std::move(copy);
  return value;
}

Value Value::Borrow(DType dtype, Shape dims, const void* data) {
  Value value;
  value.kind = Kind::kTensor;
  value.dtype = dtype;
  value.dims = std::move(dims);
  value.data = static_cast<const char*>(data);
  return value;
}

Value Value::FromStrings(Shape dims, std::vector<std::string> strings) {
  Value value;
  value.kind = Kind::kTensor;
  value.dtype = DType::kString;
  value.dims = std::move(dims);
  value.strings = std::make_shared<const std::vector<std::string>>(std::move(strings));
  return value;
}

Value Value::Sequence(DType dtype, std::vector<Value> items) {
  Value value;
  value.kind = Kind::kSequence;
  value.dtype = dtype;
  value.items = std::make_shared<const std::vector<Value>>(std::move(items));
  return value;
}

Value Value::Optional(DType dtype, std::vector<Value> none_or_one) {
  Value value = Sequence(dtype, std::move(none_or_one));
  value.kind = Kind::kOptional;
  return value;
}

Tensor Value::ToTensor(std::string name) const {
  if (!IsTensor() || layout != Layout::kPlain) Die("not a plain tensor: ", Describe(*this));
  if (dtype == DType::kString) {
    Tensor tensor;
    tensor.name = std::move(name);
    tensor.dtype = dtype;
    tensor.dims = dims;
    tensor.strings = *strings;
    return tensor;
  }
  auto tensor = Tensor::Make(std::move(name), dtype, dims,
                             bytes() == 0 ? std::string() : std::string(data, bytes()));
  if (!tensor.ok()) Die("sizes do not fit: ", tensor.status().ToString());
  return *std::move(tensor);
}

std::string Describe(const Value& value) {
  switch (value.kind) {
    case Value::Kind::kNone:
      return "nothing";
    case Value::Kind::kTensor:
      return absl::StrCat(DTypeName(value.dtype), "[", absl::StrJoin(value.dims, ", "), "]");
    case Value::Kind::kSequence:
      return absl::StrCat("sequence of ", value.items->size());
    case Value::Kind::kOptional:
      return value.items->empty() ? "empty optional" : "optional";
  }
  return "";
}

}  // namespace lathe::engine
