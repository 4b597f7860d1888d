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

// Keys that this call brings: input 1 [B, L, H] or [B, N, L, D]; packed with the queries otherwise.
int64_t NewKeys(const OpContext& ctx) {
  if (!ctx.Ranked(1) || ctx.Rank(1) < 3) return ctx.Dims(0)[1];
  return ctx.Dims(1)[ctx.Rank(1) - 2];
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

// query [B, S, H], key [B, L, H] or [B, N, L, D], value likewise. Where the keys of earlier calls
// are an input, [B, N, P, D], the outputs after the first hold them and the new ones.
bool InferMultiHeadAttention(OpContext& ctx) {
  if (!ctx.Ranked(0) || ctx.Rank(0) != 3) return false;
  Shape dims = ctx.Dims(0);
  const bool grouped = ctx.node().op_type == "GroupQueryAttention";
  if (!grouped && ctx.Ranked(2) && ctx.Rank(2) == 3) dims[2] = ctx.Dims(2)[2];
  if (!grouped && ctx.Ranked(2) && ctx.Rank(2) == 4) {
    dims[2] = SaturatingMul(ctx.Dims(2)[1], ctx.Dims(2)[3]);
  }
  ctx.Set(0, ctx.In(0).dtype, std::move(dims));
  const size_t past = grouped ? 3 : 6;
  for (size_t i = 1; i < ctx.output_count() && i < 3; ++i) {
    if (!ctx.Ranked(past + i - 1) || ctx.Rank(past + i - 1) != 4) return false;
    Shape present = ctx.Dims(past + i - 1);
    present[2] = SaturatingAdd(present[2], NewKeys(ctx));
    ctx.Set(i, ctx.In(0).dtype, std::move(present));
  }
  return ctx.output_count() <= 3;
}

std::optional<MacCount> MacsMultiHeadAttention(const OpContext& ctx) {
  if (!ctx.Ranked(0) || !ctx.Ranked(1) || ctx.Rank(0) != 3) return std::nullopt;
  if (ctx.Rank(1) != 3 && ctx.Rank(1) != 4) return std::nullopt;
  const Shape& query = ctx.Dims(0);
  const size_t past = ctx.node().op_type == "GroupQueryAttention" ? 3 : 6;
  int64_t length = NewKeys(ctx);
  if (ctx.Ranked(past) && ctx.Rank(past) == 4) length = SaturatingAdd(length, ctx.Dims(past)[2]);
  return MacCount{Multiply({2, query[0], query[1], length, query[2]}), ProductType(ctx, 0, 1)};
}

// ai.onnx Attention: [B, N, S, D], or [B, S, N D] with head counts as attributes; inputs 4 and 5
// are earlier keys and values, outputs 1 and 2 these with the new ones, output 3 the scores.
bool InferAttention23(OpContext& ctx) {
  if (!ctx.Ranked(0) || !ctx.Ranked(1) || !ctx.Ranked(2)) return false;
  const bool flat = ctx.Rank(0) == 3;
  if (ctx.Rank(1) != ctx.Rank(0) || ctx.Rank(2) != ctx.Rank(0) || (!flat && ctx.Rank(0) != 4)) {
    return false;
  }
  const int64_t heads = flat ? ctx.node().IntAttribute("q_num_heads", 0) : ctx.Dims(0)[1];
  const int64_t key_heads = flat ? ctx.node().IntAttribute("kv_num_heads", 0) : ctx.Dims(1)[1];
  if (heads < 1 || key_heads < 1) return false;
  const int64_t value_width = flat ? ctx.Dims(2)[2] / key_heads : ctx.Dims(2)[3];
  Shape dims = ctx.Dims(0);
  dims.back() = flat ? SaturatingMul(value_width, heads) : value_width;
  ctx.Set(0, ctx.In(0).dtype, std::move(dims));
  const int64_t past = ctx.Ranked(4) && ctx.Rank(4) == 4 ? ctx.Dims(4)[2] : 0;
  const int64_t total = SaturatingAdd(past, ctx.Dims(1)[flat ? 1 : 2]);
  for (size_t i = 1; i < 3; ++i) {
    const int64_t width = flat ? ctx.Dims(i)[2] / key_heads : ctx.Dims(i)[3];
    ctx.Set(i, ctx.In(i).dtype, {ctx.Dims(0)[0], key_heads, total, width});
  }
  ctx.Set(3, ctx.In(0).dtype, {ctx.Dims(0)[0], heads, ctx.Dims(0)[flat ? 1 : 2], total});
  return true;
}

// query [B, T, H_q d_k], key [B, T, H_kv d_k], value [B, T, H_kv d_v]; the state is
// [B, H_kv, d_k, d_v], of its own type where an earlier one is given.
bool InferLinearAttention(OpContext& ctx) {
  if (!ctx.Ranked(0) || !ctx.Ranked(2) || ctx.Rank(0) != 3 || ctx.Rank(2) != 3) return false;
  const int64_t heads = ctx.node().IntAttribute("q_num_heads", 0);
  const int64_t kv_heads = ctx.node().IntAttribute("kv_num_heads", 0);
  if (heads < 1 || kv_heads < 1) return false;
  const Shape& query = ctx.Dims(0);
  const int64_t value_width = ctx.Dims(2)[2] / kv_heads;
  ctx.Set(0, ctx.In(0).dtype, {query[0], query[1], SaturatingMul(heads, value_width)});
  ctx.Set(1, ctx.Has(3) ? ctx.In(3).dtype : ctx.In(0).dtype,
          {query[0], kv_heads, query[2] / heads, value_width});
  return true;
}

// input [B, C, L], weight [C, 1, k]; the state is [B, C, k - 1].
bool InferCausalConv(OpContext& ctx) {
  if (!ctx.Ranked(0) || !ctx.Ranked(1) || ctx.Rank(0) != 3 || ctx.Rank(1) != 3) return false;
  const Shape& in = ctx.Dims(0);
  const int64_t taps = ctx.Dims(1)[2];
  if (taps < 1) return false;
  ctx.Set(0, ctx.In(0).dtype, in);
  ctx.Set(1, ctx.In(0).dtype, {in[0], in[1], taps - 1});
  return true;
}

std::optional<MacCount> MacsAttention23(const OpContext& ctx) {
  if (!ctx.Ranked(0) || !ctx.Ranked(1) || ctx.output_count() < 1 || !ctx.Out(0).ranked ||
      ctx.Rank(0) != ctx.Rank(1) || ctx.Rank(0) < 3) {
    return std::nullopt;
  }
  int64_t length = ctx.Dims(1)[ctx.Rank(1) - 2];
  if (ctx.Ranked(4) && ctx.Rank(4) == 4) length = SaturatingAdd(length, ctx.Dims(4)[2]);
  const int64_t both = SaturatingAdd(ctx.In(0).size(), ctx.Out(0).size());
  return MacCount{SaturatingMul(both, length), ProductType(ctx, 0, 1)};
}

}  // namespace lathe::engine
