// Fourier transforms: the last axis holds real and imaginary parts.
#include <algorithm>

#include "worker/engine/ops/op_rules.h"

namespace lathe::engine {
namespace {

// A scalar input: `fallback` when it is not given, nullopt when it is not known.
std::optional<int64_t> ScalarOf(const OpContext& ctx, size_t i, int64_t fallback) {
  if (!ctx.Has(i)) return fallback;
  const auto ints = ctx.Ints(i);
  if (!ints || ints->size() != 1) return std::nullopt;
  return (*ints)[0];
}

}  // namespace

std::optional<DftForm> ReadDft(const OpContext& ctx) {
  if (!ctx.Ranked(0) || ctx.Rank(0) < 2) return std::nullopt;
  DftForm out;
  const std::optional<int64_t> given =
      ctx.opset() < 20 ? ctx.node().IntAttribute("axis", 1) : ScalarOf(ctx, 2, -2);
  const auto axis = given ? NormalAxis(*given, ctx.Rank(0)) : std::nullopt;
  if (!axis || *axis == ctx.Rank(0) - 1) return std::nullopt;
  out.axis = *axis;
  out.inverse = ctx.node().IntAttribute("inverse", 0) != 0;
  out.onesided = ctx.node().IntAttribute("onesided", 0) != 0;
  const int64_t extent = ctx.Dims(0)[*axis];
  const auto length =
      ScalarOf(ctx, 1, out.inverse && out.onesided ? SaturatingMul(2, extent - 1) : extent);
  if (!length || *length < 1 || *length > kMaxExtent) return std::nullopt;
  out.length = *length;
  return out;
}

bool InferDft(OpContext& ctx) {
  const auto form = ReadDft(ctx);
  if (!form) return false;
  Shape dims = ctx.Dims(0);
  dims[form->axis] = form->onesided && !form->inverse ? form->length / 2 + 1 : form->length;
  dims.back() = form->onesided && form->inverse ? 1 : 2;
  ctx.Set(0, ctx.In(0).dtype, std::move(dims));
  return true;
}

// signal [batch, length, 1 or 2] -> [batch, frames, bins, 2].
bool InferStft(OpContext& ctx) {
  if (!ctx.Ranked(0) || ctx.Rank(0) != 3) return false;
  const Shape& in = ctx.Dims(0);
  const auto step = ScalarOf(ctx, 1, 0);
  const bool has_window = ctx.Ranked(2) && ctx.Rank(2) == 1;
  if (ctx.Has(2) && !has_window) return false;
  const auto length = ScalarOf(ctx, 3, has_window ? ctx.Dims(2)[0] : in[1]);
  if (!step || *step < 1 || !length || *length < 1 || *length > in[1]) return false;
  if (has_window && ctx.Dims(2)[0] != *length) return false;
  const bool onesided = ctx.node().IntAttribute("onesided", 1) != 0;
  ctx.Set(0, ctx.In(0).dtype,
          {in[0], (in[1] - *length) / *step + 1, onesided ? *length / 2 + 1 : *length, 2});
  return true;
}

}  // namespace lathe::engine
