// Quantizing and dequantizing, and the QLinear operators: the shapes of their float counterparts,
// with scales and zero points among the inputs.
#include "worker/engine/ops/op_rules.h"

namespace lathe::engine {

bool InferQuantizeLinear(OpContext& ctx) {
  if (!ctx.Ranked(0)) return false;
  DType dtype = DType::kUint8;
  if (const int64_t given = ctx.node().IntAttribute("output_dtype", 0); given != 0) {
    dtype = static_cast<DType>(given);
  } else if (ctx.Has(2)) {
    dtype = ctx.In(2).dtype;
  }
  ctx.Set(0, dtype, ctx.Dims(0));
  return true;
}

bool InferDequantizeLinear(OpContext& ctx) {
  if (!ctx.Ranked(0)) return false;
  const int64_t given = ctx.node().IntAttribute("output_dtype", 0);
  DType dtype = given != 0 ? static_cast<DType>(given) : ctx.In(1).dtype;
  if (dtype == DType::kUndefined) dtype = DType::kFloat;
  ValueFact& out = ctx.Set(0, dtype, ctx.Dims(0));
  // Blocked scales run as float.
  const bool blocked = ctx.node().IntAttribute("block_size", 0) != 0;
  const DType in = ctx.In(0).dtype;
  out.dequantized = !blocked && (in == DType::kInt8 || in == DType::kUint8);
  return true;
}

bool InferDynamicQuantizeLinear(OpContext& ctx) {
  if (!ctx.Ranked(0)) return false;
  ctx.Set(0, DType::kUint8, ctx.Dims(0));
  ctx.Set(1, DType::kFloat, {});
  ctx.Set(2, DType::kUint8, {});
  return true;
}

// A, its scale and zero point, B, its scale and zero point, ...
bool InferQLinearBinary(OpContext& ctx) {
  if (!ctx.Ranked(0) || !ctx.Ranked(3)) return false;
  std::optional<Shape> dims = Broadcast(ctx.Dims(0), ctx.Dims(3));
  if (!dims) return false;
  ctx.Set(0, ctx.In(0).dtype, *std::move(dims));
  return true;
}

// The output's scale and zero point, then triples of value, scale, zero point.
bool InferQLinearConcat(OpContext& ctx) {
  if (!ctx.Ranked(2)) return false;
  const auto axis = NormalAxis(ctx.node().IntAttribute("axis", 0), ctx.Rank(2));
  if (!axis) return false;
  Shape dims = ctx.Dims(2);
  for (size_t i = 5; i < ctx.input_count(); i += 3) {
    if (!ctx.Ranked(i) || ctx.Rank(i) != ctx.Rank(2)) return false;
    dims[*axis] = SaturatingAdd(dims[*axis], ctx.Dims(i)[*axis]);
  }
  ctx.Set(0, ctx.In(2).dtype, std::move(dims));
  return true;
}

bool InferQLinearUnary(OpContext& ctx) {
  if (!ctx.Ranked(0)) return false;
  ctx.Set(0, ctx.In(0).dtype, ctx.Dims(0));
  return true;
}

// The condition, X, its scale and zero point, Y, its scale and zero point, ...
bool InferQLinearWhere(OpContext& ctx) {
  if (!ctx.Ranked(0) || !ctx.Ranked(1) || !ctx.Ranked(4)) return false;
  const std::optional<Shape> both = Broadcast(ctx.Dims(1), ctx.Dims(4));
  std::optional<Shape> dims = both ? Broadcast(ctx.Dims(0), *both) : std::nullopt;
  if (!dims) return false;
  ctx.Set(0, ctx.In(1).dtype, *std::move(dims));
  return true;
}

bool InferQLinearPool(OpContext& ctx) {
  return ctx.node().IntAttribute("channels_last", 0) == 0 && InferPool(ctx);
}

bool InferQLinearGlobalPool(OpContext& ctx) {
  return ctx.node().IntAttribute("channels_last", 0) == 0 && InferGlobalPool(ctx);
}

}  // namespace lathe::engine
