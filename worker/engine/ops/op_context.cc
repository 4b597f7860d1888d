#include "worker/engine/ops/op_context.h"

#include <algorithm>
#include <cmath>

namespace lathe::engine {

const ValueFact& OpContext::Nothing() {
  static const ValueFact nothing;
  return nothing;
}

std::optional<std::vector<int64_t>> OpContext::Ints(size_t i) const {
  const ValueFact& fact = In(i);
  if (!fact.known || IsFloat(fact.dtype)) return std::nullopt;
  return fact.ints;
}

std::optional<std::vector<double>> OpContext::Reals(size_t i) const {
  const ValueFact& fact = In(i);
  if (!fact.known || !IsFloat(fact.dtype)) return std::nullopt;
  return fact.reals;
}

ValueFact& OpContext::Set(size_t i, DType dtype, Shape dims) {
  ValueFact& fact = i < outputs_.size() ? outputs_[i] : scratch_;
  fact = ValueFact();
  fact.dtype = dtype;
  fact.dims = std::move(dims);
  fact.ranked = true;
  return fact;
}

std::optional<int64_t> NormalAxis(int64_t axis, int64_t rank) {
  if (axis < -rank || axis >= rank) return std::nullopt;
  return axis < 0 ? axis + rank : axis;
}

std::optional<Shape> Broadcast(const Shape& a, const Shape& b) {
  Shape out(std::max(a.size(), b.size()), 1);
  for (size_t back = 1; back <= out.size(); ++back) {
    const int64_t x = back <= a.size() ? a[a.size() - back] : 1;
    const int64_t y = back <= b.size() ? b[b.size() - back] : 1;
    if (x != y && x != 1 && y != 1) return std::nullopt;
    out[out.size() - back] = x == 1 ? y : x;
  }
  return out;
}

std::vector<int64_t> Strides(const Shape& dims) {
  std::vector<int64_t> strides(dims.size(), 1);
  for (size_t i = dims.size(); i-- > 1;) strides[i - 1] = SaturatingMul(strides[i], dims[i]);
  return strides;
}

}  // namespace lathe::engine
