#include "worker/engine/evaluate/output_arrays.h"

#include <algorithm>
#include <utility>

#include "worker/engine/ops/forward/value_read.h"

namespace lathe::engine {
namespace {

// [a, b, rest] to [b, a, rest].
std::vector<float> Turned(std::span<const float> from, int64_t a, int64_t b) {
  const int64_t rest = a * b == 0 ? 0 : static_cast<int64_t>(from.size()) / (a * b);
  std::vector<float> to(from.size());
  for (int64_t i = 0; i < a; ++i) {
    for (int64_t j = 0; j < b; ++j) {
      const float* source = from.data() + (i * b + j) * rest;
      std::copy(source, source + rest, to.data() + (j * a + i) * rest);
    }
  }
  return to;
}

}  // namespace

OutputArrays::OutputArrays(const std::vector<std::string>& names, const std::vector<Value>& values,
                           int64_t examples, int64_t rows) {
  for (size_t i = 0; i < values.size() && i < names.size(); ++i) {
    const Value& value = values[i];
    if (!value.IsTensor() || value.dtype == DType::kString) continue;
    if (value.dtype == DType::kComplex64 || value.dtype == DType::kComplex128) continue;
    std::span<const float> elements;
    if (value.dtype == DType::kFloat) {
      elements = value.As<float>();
    } else {
      std::vector<float>& copy = converted_.emplace_back(static_cast<size_t>(value.size()));
      for (size_t k = 0; k < copy.size(); ++k) {
        copy[k] = static_cast<float>(ReadNumber(value, static_cast<int64_t>(k)));
      }
      elements = copy;
    }
    Shape dims = value.dims;
    if (dims.empty()) dims = {1};
    if (dims.size() >= 2 && dims[0] != rows && dims[1] == rows) {
      elements = converted_.emplace_back(Turned(elements, dims[0], dims[1]));
      std::swap(dims[0], dims[1]);
    }
    if (rows > examples && dims[0] == rows) {
      elements = elements.first(elements.size() / static_cast<size_t>(rows) *
                                static_cast<size_t>(examples));
      dims[0] = examples;
    }
    batch_.outputs.push_back({names[i], {std::move(dims), elements}});
  }
}

}  // namespace lathe::engine
