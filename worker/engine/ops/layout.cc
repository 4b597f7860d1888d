// Operators that give the same elements another shape or order.
#include <algorithm>
#include <numeric>

#include "common/checked.h"
#include "worker/engine/ops/op_rules.h"

namespace lathe::engine {
namespace {

// Axes of Squeeze and Unsqueeze: an attribute up to opset 12, an input since. nullopt: not known.
std::optional<std::vector<int64_t>> AxesOf(const OpContext& ctx, bool* given) {
  *given = true;
  if (ctx.node().FindAttribute("axes") != nullptr) return ctx.node().IntsAttribute("axes");
  if (ctx.Has(1)) return ctx.Ints(1);
  *given = false;
  return std::vector<int64_t>();
}

}  // namespace

bool InferReshape(OpContext& ctx) {
  if (!ctx.Ranked(0)) return false;
  std::optional<std::vector<int64_t>> target;
  if (ctx.node().FindAttribute("shape") != nullptr) {
    target = ctx.node().IntsAttribute("shape");
  } else {
    target = ctx.Ints(1);
  }
  if (!target) return false;
  const bool allow_zero = ctx.node().IntAttribute("allowzero", 0) != 0;
  Shape dims = *target;
  int64_t rest = -1;
  for (size_t i = 0; i < dims.size(); ++i) {
    if (dims[i] == 0 && !allow_zero) {
      if (i >= ctx.Dims(0).size()) return false;
      dims[i] = ctx.Dims(0)[i];
    }
    if (dims[i] == -1) {
      if (rest >= 0) return false;
      rest = static_cast<int64_t>(i);
    }
  }
  if (rest >= 0) {
    dims[rest] = 1;
    const auto others = CheckedProduct(dims);
    if (!others) return false;
    if (*others == 0) {
      dims[rest] = 0;
    } else {
      if (ctx.In(0).size() % *others != 0) return false;
      dims[rest] = ctx.In(0).size() / *others;
    }
  }
  const auto elements = CheckedProduct(dims);
  if (!elements || *elements != ctx.In(0).size()) return false;
  ValueFact& out = ctx.Set(0, ctx.In(0).dtype, std::move(dims));
  ShareElements(ctx.In(0), out);
  out.dequantized = ctx.In(0).dequantized;
  return true;
}

bool InferFlatten(OpContext& ctx) {
  if (!ctx.Ranked(0)) return false;
  int64_t axis = ctx.node().IntAttribute("axis", 1);
  if (axis < -ctx.Rank(0) || axis > ctx.Rank(0)) return false;
  if (axis < 0) axis += ctx.Rank(0);
  int64_t before = 1;
  int64_t after = 1;
  for (int64_t i = 0; i < ctx.Rank(0); ++i) {
    int64_t& side = i < axis ? before : after;
    side = SaturatingMul(side, ctx.Dims(0)[i]);
  }
  ValueFact& out = ctx.Set(0, ctx.In(0).dtype, {before, after});
  ShareElements(ctx.In(0), out);
  out.dequantized = ctx.In(0).dequantized;
  return true;
}

bool InferTranspose(OpContext& ctx) {
  if (!ctx.Ranked(0)) return false;
  const size_t rank = ctx.Dims(0).size();
  std::vector<int64_t> perm = ctx.node().IntsAttribute("perm");
  if (ctx.node().FindAttribute("perm") == nullptr) {
    perm.resize(rank);
    std::iota(perm.rbegin(), perm.rend(), int64_t{0});
  }
  if (perm.size() != rank) return false;
  std::vector<int64_t> sorted = perm;
  std::sort(sorted.begin(), sorted.end());
  for (size_t i = 0; i < rank; ++i) {
    if (sorted[i] != static_cast<int64_t>(i)) return false;
  }
  Shape dims(rank);
  for (size_t i = 0; i < rank; ++i) dims[i] = ctx.Dims(0)[perm[i]];
  ValueFact& out = ctx.Set(0, ctx.In(0).dtype, dims);
  out.dequantized = ctx.In(0).dequantized;
  if (!ctx.In(0).known) return true;
  const std::vector<int64_t> strides = Strides(ctx.Dims(0));
  std::vector<int64_t> source(static_cast<size_t>(out.size()));
  for (size_t i = 0; i < source.size(); ++i) {
    auto left = static_cast<int64_t>(i);
    for (size_t axis = rank; axis-- > 0;) {
      source[i] += left % dims[axis] * strides[perm[axis]];
      left /= dims[axis];
    }
  }
  CopyElements(ctx.In(0), source, out);
  return true;
}

bool InferSqueeze(OpContext& ctx) {
  if (!ctx.Ranked(0)) return false;
  bool given = false;
  const auto axes = AxesOf(ctx, &given);
  if (!axes) return false;
  std::vector<bool> drop(ctx.Dims(0).size(), false);
  for (const int64_t axis : *axes) {
    const auto at = NormalAxis(axis, ctx.Rank(0));
    if (!at || ctx.Dims(0)[*at] != 1) return false;
    drop[*at] = true;
  }
  Shape dims;
  for (size_t i = 0; i < drop.size(); ++i) {
    if (given ? !drop[i] : ctx.Dims(0)[i] != 1) dims.push_back(ctx.Dims(0)[i]);
  }
  ValueFact& out = ctx.Set(0, ctx.In(0).dtype, std::move(dims));
  ShareElements(ctx.In(0), out);
  out.dequantized = ctx.In(0).dequantized;
  return true;
}

bool InferUnsqueeze(OpContext& ctx) {
  if (!ctx.Ranked(0)) return false;
  bool given = false;
  const auto axes = AxesOf(ctx, &given);
  if (!axes || !given) return false;
  const auto rank = ctx.Rank(0) + static_cast<int64_t>(axes->size());
  std::vector<bool> added(static_cast<size_t>(rank), false);
  for (const int64_t axis : *axes) {
    const auto at = NormalAxis(axis, rank);
    if (!at || added[*at]) return false;
    added[*at] = true;
  }
  Shape dims;
  size_t next = 0;
  for (const bool is_new : added) dims.push_back(is_new ? 1 : ctx.Dims(0)[next++]);
  ValueFact& out = ctx.Set(0, ctx.In(0).dtype, std::move(dims));
  ShareElements(ctx.In(0), out);
  out.dequantized = ctx.In(0).dequantized;
  return true;
}

bool InferDepthToSpace(OpContext& ctx) {
  const int64_t block = ctx.node().IntAttribute("blocksize", 0);
  if (!ctx.Ranked(0) || ctx.Rank(0) != 4 || block < 1 || block > 1 << 20) return false;
  const Shape& in = ctx.Dims(0);
  if (in[1] % (block * block) != 0) return false;
  ctx.Set(
      0, ctx.In(0).dtype,
      {in[0], in[1] / (block * block), SaturatingMul(in[2], block), SaturatingMul(in[3], block)});
  return true;
}

bool InferSpaceToDepth(OpContext& ctx) {
  const int64_t block = ctx.node().IntAttribute("blocksize", 0);
  if (!ctx.Ranked(0) || ctx.Rank(0) != 4 || block < 1 || block > 1 << 20) return false;
  const Shape& in = ctx.Dims(0);
  if (in[2] % block != 0 || in[3] % block != 0) return false;
  ctx.Set(0, ctx.In(0).dtype,
          {in[0], SaturatingMul(in[1], block * block), in[2] / block, in[3] / block});
  return true;
}

}  // namespace lathe::engine
