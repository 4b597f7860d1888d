#include "worker/engine/ops/value_fact.h"

#include <limits>
#include <utility>

#include "common/checked.h"
#include "common/limits.h"

namespace lathe::engine {

int64_t ValueFact::size() const { return ranked ? CheckedProduct(dims).value_or(0) : 0; }

int64_t ValueFact::bytes() const { return DTypeBytes(dtype, size()).value_or(0); }

ValueFact FactOf(const Tensor& tensor) {
  ValueFact fact;
  fact.dtype = tensor.dtype;
  fact.dims = tensor.dims;
  fact.ranked = IsPlausible(tensor.dims);
  fact.constant = true;
  fact.stored_bytes = tensor.byte_size();
  if (!fact.ranked || fact.size() > kMaxFoldedElements) return fact;
  if (IsFloat(tensor.dtype)) {
    const auto values = tensor.ToFloats();
    if (!values.ok()) return fact;
    fact.reals.assign(values->begin(), values->end());
    fact.known = true;
    return fact;
  }
  auto values = tensor.ToInt64s();
  if (!values.ok()) return fact;
  fact.ints = *std::move(values);
  fact.known = true;
  return fact;
}

ValueFact IntsFact(std::vector<int64_t> values) {
  ValueFact fact;
  fact.dtype = DType::kInt64;
  fact.ranked = true;
  fact.dims = {static_cast<int64_t>(values.size())};
  fact.known = true;
  fact.ints = std::move(values);
  return fact;
}

bool IsPlausible(const Shape& dims) {
  if (dims.size() > static_cast<size_t>(limits::kMaxTensorRank)) return false;
  for (const int64_t extent : dims) {
    if (extent < 0 || extent > kMaxExtent) return false;
  }
  const std::optional<int64_t> elements = CheckedProduct(dims);
  return elements.has_value() && *elements <= kMaxElements;
}

void CopyElements(const ValueFact& in, const std::vector<int64_t>& source, ValueFact& out) {
  if (!in.known) return;
  const bool real = !in.reals.empty() || IsFloat(in.dtype);
  const int64_t available = static_cast<int64_t>(real ? in.reals.size() : in.ints.size());
  out.ints.clear();
  out.reals.clear();
  for (const int64_t i : source) {
    if (i < 0 || i >= available) return;
    if (real) {
      out.reals.push_back(in.reals[static_cast<size_t>(i)]);
    } else {
      out.ints.push_back(in.ints[static_cast<size_t>(i)]);
    }
  }
  out.known = true;
}

void ShareElements(const ValueFact& in, ValueFact& out) {
  out.known = in.known;
  out.ints = in.ints;
  out.reals = in.reals;
}

int64_t SaturatingMul(int64_t a, int64_t b) {
  return CheckedMul(a, b).value_or(std::numeric_limits<int64_t>::max());
}

int64_t SaturatingAdd(int64_t a, int64_t b) {
  return CheckedAdd(a, b).value_or(std::numeric_limits<int64_t>::max());
}

}  // namespace lathe::engine
