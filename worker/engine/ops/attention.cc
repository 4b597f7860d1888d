// Fused attention. Multiply-accumulates: the projections inside the operator, and for every head
// Q K^T and the product with V: 2 B S_q S_k H for heads that together are H wide.
#include <utility>

#include "worker/engine/ops/op_rules.h"

namespace lathe::engine {
namespace {

int64_t Multiply(std::initializer_list<int64_t> factors) {
  int64_t out = 1;
  for (const int64_t factor : factors) out = SaturatingMul(out, factor);
  return out;
}

}  // namespace

// input [B, S, D], weights [D, Q + K + V], widths from qkv_hidden_sizes or equal thirds.
bool InferContribAttention(OpContext& ctx) {
  if (!ctx.Ranked(0) || !ctx.Ranked(1) || ctx.Rank(0) != 3 || ctx.Rank(1) != 2) return false;
  const std::vector<int64_t> widths = ctx.node().IntsAttribute("qkv_hidden_sizes");
  const int64_t value_width = widths.size() == 3 ? widths[2] : ctx.Dims(1)[1] / 3;
  const DType dtype = ctx.node().op_type == "QAttention" ? ctx.In(3).dtype : ctx.In(0).dtype;
  ctx.Set(0, dtype, {ctx.Dims(0)[0], ctx.Dims(0)[1], value_width});
  return ctx.output_count() == 1;
}

std::optional<MacCount> MacsContribAttention(const OpContext& ctx) {
  if (!ctx.Ranked(0) || !ctx.Ranked(1) || ctx.Rank(0) != 3 || ctx.Rank(1) != 2) {
    return std::nullopt;
  }
  const Shape& in = ctx.Dims(0);
  const int64_t projections = Multiply({in[0], in[1], in[2], ctx.Dims(1)[1]});
  const std::vector<int64_t> widths = ctx.node().IntsAttribute("qkv_hidden_sizes");
  const int64_t query_width = widths.size() == 3 ? widths[0] : ctx.Dims(1)[1] / 3;
  const int64_t value_width = widths.size() == 3 ? widths[2] : ctx.Dims(1)[1] / 3;
  const int64_t scores = Multiply({in[0], in[1], in[1], SaturatingAdd(query_width, value_width)});
  return MacCount{SaturatingAdd(projections, scores), ProductType(ctx, 0, 1)};
}

// query [B, S, H], key [B, L, H] or [B, N, L, D], value likewise.
bool InferMultiHeadAttention(OpContext& ctx) {
  if (!ctx.Ranked(0) || ctx.Rank(0) != 3) return false;
  Shape dims = ctx.Dims(0);
  const bool grouped = ctx.node().op_type == "GroupQueryAttention";
  if (!grouped && ctx.Ranked(2) && ctx.Rank(2) == 3) dims[2] = ctx.Dims(2)[2];
  if (!grouped && ctx.Ranked(2) && ctx.Rank(2) == 4) {
    dims[2] = SaturatingMul(ctx.Dims(2)[1], ctx.Dims(2)[3]);
  }
  ctx.Set(0, ctx.In(0).dtype, std::move(dims));
  return ctx.output_count() == 1;
}

std::optional<MacCount> MacsMultiHeadAttention(const OpContext& ctx) {
  if (!ctx.Ranked(0) || !ctx.Ranked(1) || ctx.Rank(0) != 3) return std::nullopt;
  const Shape& query = ctx.Dims(0);
  if (ctx.Rank(1) != 3 && ctx.Rank(1) != 4) return std::nullopt;
  const int64_t length = ctx.Dims(1)[ctx.Rank(1) - 2];
  return MacCount{Multiply({2, query[0], query[1], length, query[2]}), ProductType(ctx, 0, 1)};
}

// ai.onnx Attention: [B, N, S, D], or [B, S, N D] with head counts as attributes.
bool InferAttention23(OpContext& ctx) {
  if (!ctx.Ranked(0) || !ctx.Ranked(2)) return false;
  Shape dims = ctx.Dims(0);
  if (dims.size() == 4 && ctx.Rank(2) == 4) {
    dims[3] = ctx.Dims(2)[3];
  } else if (dims.size() == 3 && ctx.Rank(2) == 3) {
    const int64_t heads = ctx.node().IntAttribute("q_num_heads", 0);
    const int64_t value_heads = ctx.node().IntAttribute("kv_num_heads", 0);
    if (heads < 1 || value_heads < 1) return false;
    dims[2] = SaturatingMul(ctx.Dims(2)[2] / value_heads, heads);
  } else {
    return false;
  }
  ctx.Set(0, ctx.In(0).dtype, std::move(dims));
  return ctx.output_count() == 1;
}

std::optional<MacCount> MacsAttention23(const OpContext& ctx) {
  if (!ctx.Ranked(0) || !ctx.Ranked(1) || ctx.output_count() < 1 || !ctx.Out(0).ranked ||
      ctx.Rank(0) != ctx.Rank(1) || ctx.Rank(0) < 3) {
    return std::nullopt;
  }
  const int64_t length = ctx.Dims(1)[ctx.Rank(1) - 2];
  const int64_t both = SaturatingAdd(ctx.In(0).size(), ctx.Out(0).size());
  return MacCount{SaturatingMul(both, length), ProductType(ctx, 0, 1)};
}

}  // namespace lathe::engine
