// Operators that pick elements by index, and those whose output's size the data decide.
#include <algorithm>

#include "worker/engine/ops/op_rules.h"

namespace lathe::engine {

bool InferGather(OpContext& ctx) {
  if (!ctx.Ranked(0) || !ctx.Ranked(1)) return false;
  const auto axis = NormalAxis(ctx.node().IntAttribute("axis", 0), ctx.Rank(0));
  if (!axis) return false;
  const Shape& data = ctx.Dims(0);
  Shape dims(data.begin(), data.begin() + *axis);
  dims.insert(dims.end(), ctx.Dims(1).begin(), ctx.Dims(1).end());
  dims.insert(dims.end(), data.begin() + *axis + 1, data.end());
  ValueFact& out = ctx.Set(0, ctx.In(0).dtype, std::move(dims));
  const auto indices = ctx.Ints(1);
  if (ctx.Rank(0) == 1 && ctx.In(0).known && indices) {
    std::vector<int64_t> source;
    for (const int64_t index : *indices) source.push_back(index < 0 ? index + data[0] : index);
    CopyElements(ctx.In(0), source, out);
  }
  return true;
}

bool InferGatherElements(OpContext& ctx) {
  if (!ctx.Ranked(1)) return false;
  ctx.Set(0, ctx.In(0).dtype, ctx.Dims(1));
  return true;
}

bool InferGatherND(OpContext& ctx) {
  if (!ctx.Ranked(0) || !ctx.Ranked(1) || ctx.Rank(1) < 1) return false;
  const int64_t batch = ctx.node().IntAttribute("batch_dims", 0);
  const int64_t depth = ctx.Dims(1).back();
  if (batch < 0 || batch >= ctx.Rank(1) || depth < 0 || batch + depth > ctx.Rank(0)) return false;
  Shape dims(ctx.Dims(1).begin(), ctx.Dims(1).end() - 1);
  dims.insert(dims.end(), ctx.Dims(0).begin() + batch + depth, ctx.Dims(0).end());
  ctx.Set(0, ctx.In(0).dtype, std::move(dims));
  return true;
}

bool InferOneHot(OpContext& ctx) {
  if (!ctx.Ranked(0)) return false;
  int64_t depth = 1;
  const ValueFact& given = ctx.In(1);
  if (given.known && given.size() == 1) {
    depth = IsFloat(given.dtype) ? static_cast<int64_t>(std::clamp(given.reals[0], 0.0, 1e12))
                                 : given.ints[0];
  } else {
    ctx.Assume("its depth depends on the data; 1 assumed");
  }
  const auto axis = NormalAxis(ctx.node().IntAttribute("axis", -1), ctx.Rank(0) + 1);
  if (!axis) return false;
  Shape dims = ctx.Dims(0);
  dims.insert(dims.begin() + *axis, depth);
  ctx.Set(0, ctx.In(2).dtype, std::move(dims));
  return true;
}

bool InferTopK(OpContext& ctx) {
  if (!ctx.Ranked(0)) return false;
  const auto axis = NormalAxis(ctx.node().IntAttribute("axis", -1), ctx.Rank(0));
  if (!axis) return false;
  int64_t k = 1;
  if (ctx.node().FindAttribute("k") != nullptr) {
    k = ctx.node().IntAttribute("k", 1);
  } else if (const auto given = ctx.Ints(1); given && given->size() == 1) {
    k = (*given)[0];
  } else {
    ctx.Assume("k depends on the data; 1 assumed");
  }
  Shape dims = ctx.Dims(0);
  dims[*axis] = k;
  ctx.Set(0, ctx.In(0).dtype, dims);
  ctx.Set(1, DType::kInt64, std::move(dims));
  return true;
}

bool InferNonZero(OpContext& ctx) {
  if (!ctx.Ranked(0)) return false;
  if (ctx.In(0).known) {
    const ValueFact& in = ctx.In(0);
    const auto zeros = IsFloat(in.dtype) ? std::count(in.reals.begin(), in.reals.end(), 0.0)
                                         : std::count(in.ints.begin(), in.ints.end(), 0);
    ValueFact& out = ctx.Set(0, DType::kInt64, {ctx.Rank(0), in.size() - zeros});
    if (ctx.Rank(0) == 1) {
      for (int64_t i = 0; i < in.size(); ++i) {
        if (IsFloat(in.dtype) ? in.reals[i] != 0 : in.ints[i] != 0) out.ints.push_back(i);
      }
      out.known = true;
    }
    return true;
  }
  ctx.Assume("how many elements are non-zero depends on the data; 1 assumed");
  ctx.Set(0, DType::kInt64, {ctx.Rank(0), 1});
  return true;
}

bool InferNonMaxSuppression(OpContext& ctx) {
  ctx.Assume("how many boxes remain depends on the data; 1 assumed");
  ctx.Set(0, DType::kInt64, {1, 3});
  return true;
}

bool InferUnique(OpContext& ctx) {
  ctx.Assume("how many values differ depends on the data; 1 assumed");
  Shape dims = {1};
  if (ctx.node().FindAttribute("axis") != nullptr) {
    if (!ctx.Ranked(0)) return false;
    const auto axis = NormalAxis(ctx.node().IntAttribute("axis", 0), ctx.Rank(0));
    if (!axis) return false;
    dims = ctx.Dims(0);
    dims[*axis] = 1;
  }
  ctx.Set(0, ctx.In(0).dtype, dims);
  for (size_t i = 1; i < 4; ++i) ctx.Set(i, DType::kInt64, {1});
  return true;
}

bool InferCompress(OpContext& ctx) {
  if (!ctx.Ranked(0)) return false;
  Shape dims = {1};
  int64_t kept = 1;
  if (const auto condition = ctx.Ints(1)) {
    kept = static_cast<int64_t>(condition->size()) -
           std::count(condition->begin(), condition->end(), 0);
  } else {
    ctx.Assume("how much it keeps depends on the data; 1 assumed");
  }
  dims[0] = kept;
  if (ctx.node().FindAttribute("axis") != nullptr) {
    const auto axis = NormalAxis(ctx.node().IntAttribute("axis", 0), ctx.Rank(0));
    if (!axis) return false;
    dims = ctx.Dims(0);
    dims[*axis] = kept;
  }
  ctx.Set(0, ctx.In(0).dtype, std::move(dims));
  return true;
}

// data [..., packed] of uint8 holds 8 / bits values a byte along its last axis.
bool InferGatherBlockQuantized(OpContext& ctx) {
  if (!ctx.Ranked(0) || !ctx.Ranked(1) || ctx.Rank(0) < 1) return false;
  Shape data = ctx.Dims(0);
  const int64_t bits = ctx.node().IntAttribute("bits", 4);
  if (bits < 1 || bits > 8) return false;
  if (ctx.In(0).dtype == DType::kUint8) data.back() = SaturatingMul(data.back(), 8 / bits);
  const auto axis = NormalAxis(ctx.node().IntAttribute("gather_axis", 0), ctx.Rank(0));
  if (!axis) return false;
  Shape dims(data.begin(), data.begin() + *axis);
  dims.insert(dims.end(), ctx.Dims(1).begin(), ctx.Dims(1).end());
  dims.insert(dims.end(), data.begin() + *axis + 1, data.end());
  ctx.Set(0, ctx.In(2).dtype, std::move(dims));
  return true;
}

bool InferEmbedLayerNormalization(OpContext& ctx) {
  if (!ctx.Ranked(0) || !ctx.Ranked(2) || ctx.Rank(0) != 2 || ctx.Rank(2) != 2) return false;
  const Shape dims = {ctx.Dims(0)[0], ctx.Dims(0)[1], ctx.Dims(2)[1]};
  ctx.Set(0, ctx.In(2).dtype, dims);
  ctx.Set(1, DType::kInt32, {dims[0]});
  ctx.Set(2, ctx.In(2).dtype, dims);
  return true;
}

}  // namespace lathe::engine
