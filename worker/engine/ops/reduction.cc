// Reductions over axes.
#include <algorithm>

#include "worker/engine/ops/op_rules.h"

namespace lathe::engine {
namespace {

// A small value reduced over all its axes.
void FoldReduce(const OpContext& ctx, ValueFact& out) {
  const ValueFact& in = ctx.In(0);
  if (!in.known || out.size() != 1 || in.size() == 0) return;
  const std::string& op = ctx.node().op_type;
  if (IsFloat(in.dtype)) {
    double value = in.reals[0];
    for (size_t i = 1; i < in.reals.size(); ++i) {
      if (op == "ReduceProd") {
        value *= in.reals[i];
      } else if (op == "ReduceSum" || op == "ReduceMean") {
        value += in.reals[i];
      } else if (op == "ReduceMax") {
        value = std::max(value, in.reals[i]);
      } else if (op == "ReduceMin") {
        value = std::min(value, in.reals[i]);
      } else {
        return;
      }
    }
    if (op == "ReduceMean") value /= static_cast<double>(in.reals.size());
    out.reals = {value};
  } else {
    int64_t value = in.ints[0];
    for (size_t i = 1; i < in.ints.size(); ++i) {
      const int64_t next = in.ints[i];
      if (op == "ReduceProd") {
        if (__builtin_mul_overflow(value, next, &value)) return;
      } else if (op == "ReduceSum") {
        if (__builtin_add_overflow(value, next, &value)) return;
      } else if (op == "ReduceMax") {
        value = std::max(value, next);
      } else if (op == "ReduceMin") {
        value = std::min(value, next);
      } else {
        return;
      }
    }
    out.ints = {value};
  }
  out.known = true;
}

}  // namespace

bool InferReduce(OpContext& ctx) {
  if (!ctx.Ranked(0)) return false;
  std::vector<int64_t> axes = ctx.node().IntsAttribute("axes");
  if (ctx.node().FindAttribute("axes") == nullptr && ctx.Has(1)) {
    const auto given = ctx.Ints(1);
    if (!given) return false;
    axes = *given;
  }
  const bool keep = ctx.node().IntAttribute("keepdims", 1) != 0;
  std::vector<bool> reduced(ctx.Dims(0).size(), false);
  if (axes.empty() && ctx.node().IntAttribute("noop_with_empty_axes", 0) == 0) {
    reduced.assign(reduced.size(), true);
  }
  for (const int64_t axis : axes) {
    const auto at = NormalAxis(axis, ctx.Rank(0));
    if (!at) return false;
    reduced[*at] = true;
  }
  Shape dims;
  for (size_t i = 0; i < reduced.size(); ++i) {
    if (!reduced[i]) {
      dims.push_back(ctx.Dims(0)[i]);
    } else if (keep) {
      dims.push_back(1);
    }
  }
  ValueFact& out = ctx.Set(0, ctx.In(0).dtype, std::move(dims));
  FoldReduce(ctx, out);
  return true;
}

bool InferDet(OpContext& ctx) {
  if (!ctx.Ranked(0) || ctx.Rank(0) < 2) return false;
  ctx.Set(0, ctx.In(0).dtype, Shape(ctx.Dims(0).begin(), ctx.Dims(0).end() - 2));
  return true;
}

bool InferArg(OpContext& ctx) {
  if (!ctx.Ranked(0)) return false;
  const auto axis = NormalAxis(ctx.node().IntAttribute("axis", 0), ctx.Rank(0));
  if (!axis) return false;
  Shape dims = ctx.Dims(0);
  if (ctx.node().IntAttribute("keepdims", 1) != 0) {
    dims[*axis] = 1;
  } else {
    dims.erase(dims.begin() + *axis);
  }
  ctx.Set(0, DType::kInt64, std::move(dims));
  return true;
}

}  // namespace lathe::engine
