// Operators that make values: constants, ranges, shapes.
#include <algorithm>
#include <cmath>

#include "worker/engine/ops/op_rules.h"

namespace lathe::engine {

bool InferConstant(OpContext& ctx) {
  const Node& node = ctx.node();
  if (const Attribute* value = node.FindAttribute("value")) {
    if (value->tensors.size() != 1) return false;
    const ValueFact fact = FactOf(value->tensors[0]);
    if (!fact.ranked) return false;
    ctx.Set(0, fact.dtype, fact.dims) = fact;
    return true;
  }
  if (const Attribute* value = node.FindAttribute("value_int")) {
    ValueFact& out = ctx.Set(0, DType::kInt64, {});
    out.ints = {value->i};
    out.known = true;
    return true;
  }
  if (const Attribute* value = node.FindAttribute("value_ints")) {
    ValueFact& out = ctx.Set(0, DType::kInt64, {static_cast<int64_t>(value->ints.size())});
    out.ints = value->ints;
    out.known = true;
    return true;
  }
  if (const Attribute* value = node.FindAttribute("value_float")) {
    ValueFact& out = ctx.Set(0, DType::kFloat, {});
    out.reals = {value->f};
    out.known = true;
    return true;
  }
  if (const Attribute* value = node.FindAttribute("value_floats")) {
    ValueFact& out = ctx.Set(0, DType::kFloat, {static_cast<int64_t>(value->floats.size())});
    out.reals.assign(value->floats.begin(), value->floats.end());
    out.known = true;
    return true;
  }
  if (node.FindAttribute("value_string") != nullptr) {
    ctx.Set(0, DType::kString, {});
    return true;
  }
  if (const Attribute* value = node.FindAttribute("value_strings")) {
    ctx.Set(0, DType::kString, {static_cast<int64_t>(value->strings.size())});
    return true;
  }
  return false;
}

bool InferConstantOfShape(OpContext& ctx) {
  const auto dims = ctx.Ints(0);
  if (!dims) return false;
  DType dtype = DType::kFloat;
  ValueFact fill;
  const Attribute* value = ctx.node().FindAttribute("value");
  if (value != nullptr) {
    if (value->tensors.size() != 1 || value->tensors[0].size() != 1) return false;
    fill = FactOf(value->tensors[0]);
    dtype = fill.dtype;
  } else {
    fill.dtype = DType::kFloat;
    fill.reals = {0};
    fill.known = true;
  }
  ValueFact& out = ctx.Set(0, dtype, *dims);
  if (fill.known && IsPlausible(out.dims) && out.size() <= kMaxFoldedElements) {
    CopyElements(fill, std::vector<int64_t>(static_cast<size_t>(out.size()), 0), out);
  }
  return true;
}

bool InferRange(OpContext& ctx) {
  const DType dtype = ctx.In(0).dtype;
  double start = 0;
  double limit = 0;
  double delta = 0;
  bool known = true;
  double* const parts[] = {&start, &limit, &delta};
  for (size_t i = 0; i < 3; ++i) {
    const ValueFact& in = ctx.In(i);
    if (in.known && in.size() == 1) {
      *parts[i] = IsFloat(in.dtype) ? in.reals[0] : static_cast<double>(in.ints[0]);
    } else {
      known = false;
    }
  }
  if (!known || delta == 0) {
    ctx.Assume("its length depends on the data; 1 assumed");
    ctx.Set(0, dtype, {1});
    return true;
  }
  const double count = std::max(0.0, std::ceil((limit - start) / delta));
  if (!(count <= static_cast<double>(kMaxExtent))) return false;
  ValueFact& out = ctx.Set(0, dtype, {static_cast<int64_t>(count)});
  if (count > static_cast<double>(kMaxFoldedElements)) return true;
  for (int64_t i = 0; i < out.dims[0]; ++i) {
    const double value = start + static_cast<double>(i) * delta;
    if (IsFloat(dtype)) {
      out.reals.push_back(value);
    } else {
      if (!(std::abs(value) < 9e15)) return true;
      out.ints.push_back(static_cast<int64_t>(value));
    }
  }
  out.known = true;
  return true;
}

bool InferShape(OpContext& ctx) {
  if (!ctx.Ranked(0)) return false;
  const int64_t rank = ctx.Rank(0);
  const auto clamp = [rank](int64_t at) {
    if (at < -rank) return int64_t{0};
    if (at < 0) return at + rank;
    return std::min(at, rank);
  };
  const int64_t start = clamp(ctx.node().IntAttribute("start", 0));
  const int64_t end = clamp(ctx.node().IntAttribute("end", rank));
  std::vector<int64_t> values;
  for (int64_t i = start; i < end; ++i) values.push_back(ctx.Dims(0)[i]);
  ValueFact& out = ctx.Set(0, DType::kInt64, {static_cast<int64_t>(values.size())});
  out.ints = std::move(values);
  out.known = true;
  return true;
}

bool InferSize(OpContext& ctx) {
  if (!ctx.Ranked(0)) return false;
  const int64_t elements = ctx.In(0).size();
  ValueFact& out = ctx.Set(0, DType::kInt64, {});
  out.ints = {elements};
  out.known = true;
  return true;
}

bool InferEyeLike(OpContext& ctx) {
  if (!ctx.Ranked(0)) return false;
  const auto fallback = static_cast<int64_t>(ctx.In(0).dtype);
  ctx.Set(0, static_cast<DType>(ctx.node().IntAttribute("dtype", fallback)), ctx.Dims(0));
  return true;
}

bool InferRandom(OpContext& ctx) {
  if (ctx.node().FindAttribute("shape") == nullptr) return false;
  ctx.Set(0, static_cast<DType>(ctx.node().IntAttribute("dtype", 1)),
          ctx.node().IntsAttribute("shape"));
  return true;
}

bool InferRandomLike(OpContext& ctx) { return InferEyeLike(ctx); }

bool InferMultinomial(OpContext& ctx) {
  if (!ctx.Ranked(0) || ctx.Rank(0) != 2) return false;
  const int64_t samples = ctx.node().IntAttribute("sample_size", 1);
  if (samples < 0) return false;
  ctx.Set(0, static_cast<DType>(ctx.node().IntAttribute("dtype", 6)), {ctx.Dims(0)[0], samples});
  return true;
}

bool InferWindow(OpContext& ctx) {
  const auto size = ctx.Ints(0);
  if (!size || size->size() != 1) return false;
  ctx.Set(0, static_cast<DType>(ctx.node().IntAttribute("output_datatype", 1)), {(*size)[0]});
  return true;
}

}  // namespace lathe::engine
