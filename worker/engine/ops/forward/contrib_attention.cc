// Attention and MultiHeadAttention of com.microsoft, as ONNX Runtime computes them on a CPU: keys
// that a mask hides get mask_filter_value added to their scores; with `unidirectional`, later keys
// do not count at all.
#include <algorithm>
#include <cmath>
#include <memory>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/engine/linalg/strided_product.h"
#include "worker/engine/ops/forward/attention.h"
#include "worker/engine/ops/forward/attention_heads.h"
#include "worker/engine/ops/op_context.h"

namespace lathe::engine {
namespace {

bool IsFloats(const RunContext& ctx, size_t i, const Shape& dims) {
  return ctx.In(i).dtype == DType::kFloat && ctx.In(i).dims == dims;
}

// Adds the mask of input `mask` and the bias of input `bias` into one, [B or 1, N or 1, S, T].
// The mask: [B] keys that count, [2 B] these and where they start, [B, T] or [B, S, T] of 0 and 1.
absl::Status ReadBias(RunContext& ctx, size_t mask, size_t bias, HeadsCall& call,
                      std::shared_ptr<Buffer>& scratch) {
  const int64_t b = call.batch;
  const int64_t s = call.queries;
  const int64_t t = call.keys;
  int64_t bias_batch = 1;
  int64_t bias_heads = 1;
  if (ctx.Has(bias)) {
    const Shape& dims = ctx.In(bias).dims;
    if (ctx.In(bias).dtype != DType::kFloat || dims.size() != 4 || (dims[0] != 1 && dims[0] != b) ||
        (dims[1] != 1 && dims[1] != call.heads) || dims[2] != s || dims[3] != t) {
      return ctx.Error(absl::StrCat("attention_bias must be [1 or ", b, ", 1 or ", call.heads, ", ",
                                    s, ", ", t, "]"));
    }
    bias_batch = dims[0];
    bias_heads = dims[1];
  }
  std::vector<int64_t> masks;
  Shape mask_dims;
  if (ctx.Has(mask)) {
    ASSIGN_OR_RETURN(masks, ctx.Ints(mask));
    mask_dims = ctx.In(mask).dims;
    if (mask_dims != Shape({b}) && mask_dims != Shape({2 * b}) && mask_dims != Shape({b, t}) &&
        mask_dims != Shape({b, s, t})) {
      return ctx.Unsupported("masks other than [B], [2 B], [B, T] and [B, S, T] are not computed");
    }
  }
  if (!ctx.Has(mask) && !ctx.Has(bias)) return absl::OkStatus();
  const int64_t batch = ctx.Has(mask) ? b : bias_batch;
  const int64_t elements = SaturatingMul(SaturatingMul(batch, bias_heads), SaturatingMul(s, t));
  if (elements == 0) return absl::OkStatus();
  ASSIGN_OR_RETURN(scratch, ctx.Scratch(SaturatingMul(elements, 4)));
  auto* const out = reinterpret_cast<float*>(scratch->data());
  const float filter = ctx.node().FloatAttribute("mask_filter_value", -10000.0F);
  const auto masked = [&](int64_t entry, int64_t i, int64_t j) {
    if (masks.empty()) return false;
    if (mask_dims.size() == 3) return masks[(entry * s + i) * t + j] == 0;
    if (mask_dims.size() == 2) return masks[entry * t + j] == 0;
    return j >= masks[entry] || (mask_dims[0] == 2 * b && j < masks[b + entry]);
  };
  for (int64_t entry = 0; entry < batch; ++entry) {
    for (int64_t h = 0; h < bias_heads; ++h) {
      for (int64_t i = 0; i < s; ++i) {
        float* row = out + ((entry * bias_heads + h) * s + i) * t;
        const float* from = nullptr;
        if (ctx.Has(bias)) {
          const int64_t at = ((bias_batch == 1 ? 0 : entry) * bias_heads + h) * s + i;
          from = ctx.Data<float>(bias).data() + at * t;
        }
        for (int64_t j = 0; j < t; ++j) {
          row[j] = (masked(entry, i, j) ? filter : 0.0F) + (from != nullptr ? from[j] : 0.0F);
        }
      }
    }
  }
  call.bias = {out, batch == 1 ? 0 : bias_heads * s * t, bias_heads == 1 ? 0 : s * t, t};
  return absl::OkStatus();
}

void ReadScores(const RunContext& ctx, HeadsCall& call) {
  const float scale = ctx.node().FloatAttribute("scale", 0);
  call.scale = scale != 0 ? scale : 1.0F / std::sqrt(static_cast<float>(call.width));
  call.causal = ctx.node().IntAttribute("unidirectional", 0) != 0;
}

}  // namespace

// input [B, S, D], weights [D, Q + K + V], bias [Q + K + V], mask_index, past, attention_bias.
absl::Status ReadContribAttention(RunContext& ctx, HeadsFn attend) {
  const Node& node = ctx.node();
  if (ctx.Has(4) || ctx.Has(6) || ctx.Wants(1)) {
    return ctx.Unsupported("past keys and values are not computed");
  }
  if (node.IntAttribute("do_rotary", 0) != 0) return ctx.Unsupported("do_rotary is not computed");
  ASSIGN_OR_RETURN(Value* const y, ctx.Out(0));
  const Shape& in = ctx.In(0).dims;
  const Shape& w = ctx.In(1).dims;
  const int64_t heads = node.IntAttribute("num_heads", 0);
  std::vector<int64_t> widths = node.IntsAttribute("qkv_hidden_sizes");
  if (widths.empty()) widths.assign(3, w[1] / 3);
  if (widths.size() != 3 || heads < 1 || widths[0] < heads || widths[0] != widths[1] ||
      widths[0] > kMaxExtent || widths[2] < 0 || widths[2] > kMaxExtent ||
      widths[0] + widths[1] + widths[2] != w[1] || w[0] != in[2] || widths[0] % heads != 0 ||
      widths[2] % heads != 0 || ctx.In(0).dtype != DType::kFloat ||
      ctx.In(1).dtype != DType::kFloat || (ctx.Has(2) && !IsFloats(ctx, 2, {w[1]}))) {
    return ctx.Error("num_heads, weights and bias do not fit together");
  }
  const int64_t rows = in[0] * in[1];
  ASSIGN_OR_RETURN(const std::shared_ptr<Buffer> projected,
                   ctx.Scratch(SaturatingMul(SaturatingMul(rows, w[1]), 4)));
  auto* const qkv = reinterpret_cast<float*>(projected->data());
  MultiplyStrided(Side::kPlain, rows, w[1], w[0], 1, {ctx.Data<float>(0).data(), w[0]},
                  {ctx.Data<float>(1).data(), w[1]}, qkv, w[1]);
  if (ctx.Has(2)) {
    const std::span<const float> bias = ctx.Data<float>(2);
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < w[1]; ++c) qkv[r * w[1] + c] += bias[c];
    }
  }
  HeadsCall call;
  call.batch = in[0];
  call.heads = call.kv_heads = heads;
  call.queries = call.keys = in[1];
  call.width = widths[0] / heads;
  call.value_width = widths[2] / heads;
  const int64_t batch = in[1] * w[1];
  call.q = {qkv, batch, call.width, w[1]};
  call.k = {qkv + widths[0], batch, call.width, w[1]};
  call.v = {qkv + widths[0] + widths[1], batch, call.value_width, w[1]};
  call.out = HeadsView<float>::Flat(y->Mutable<float>().data(), heads, in[1], call.value_width);
  ReadScores(ctx, call);
  std::shared_ptr<Buffer> bias;
  RETURN_IF_ERROR(ReadBias(ctx, 3, 5, call, bias));
  return attend(call);
}

absl::Status ContribAttention(RunContext& ctx) {
  return ReadContribAttention(ctx, [&](const HeadsCall& call) { return AttendHeads(ctx, call); });
}

namespace {

// Keys or values of MultiHeadAttention: [B, L, N D] or [B, N, L, D], with the bias of the flat form
// added and past [B, N, P, D] before them; present goes to output `output`. The result is dense.
struct Joined {
  int64_t rows = 0;
  int64_t width = 0;
  HeadsView<const float> view;
};

absl::Status Join(RunContext& ctx, size_t input, const float* bias, size_t past, size_t output,
                  int64_t batch, int64_t heads, Joined& joined, std::shared_ptr<Buffer>& scratch) {
  const Value& fresh = ctx.In(input);
  const Shape& dims = fresh.dims;
  const bool flat = dims.size() == 3;
  if (fresh.dtype != DType::kFloat || (!flat && dims.size() != 4) || dims[0] != batch ||
      (flat ? dims[2] % heads != 0 : dims[1] != heads)) {
    return ctx.Error(absl::StrCat("input ", input, " must be [", batch, ", L, ", heads, " D] or [",
                                  batch, ", ", heads, ", L, D]"));
  }
  const int64_t rows = flat ? dims[1] : dims[2];
  joined.width = flat ? dims[2] / heads : dims[3];
  int64_t before = 0;
  if (ctx.Has(past)) {
    const Shape& old = ctx.In(past).dims;
    before = old.size() == 4 ? old[2] : 0;
    if (!IsFloats(ctx, past, {batch, heads, before, joined.width})) {
      return ctx.Error(absl::StrCat("input ", past, " must be [", batch, ", ", heads, ", P, ",
                                    joined.width, "]"));
    }
  }
  joined.rows = before + rows;
  const Shape all = {batch, heads, joined.rows, joined.width};
  float* to = nullptr;
  if (ctx.Wants(output)) {
    ASSIGN_OR_RETURN(Value* const present, ctx.Out(output, DType::kFloat, all));
    to = present->Mutable<float>().data();
  } else {
    const int64_t bytes = ValueBytes(DType::kFloat, all, Layout::kPlain);
    if (bytes < 0) return ctx.Error("past and new keys are too large together");
    ASSIGN_OR_RETURN(scratch, ctx.Scratch(bytes));
    to = reinterpret_cast<float*>(scratch->data());
  }
  const float* data = fresh.As<float>().data();
  using View = HeadsView<const float>;
  const View view = flat ? View::Flat(data, heads, rows, joined.width)
                         : View::Dense(data, heads, rows, joined.width);
  joined.view = View::Dense(to, heads, joined.rows, joined.width);
  // Without elements there may be any number of heads.
  if (joined.rows == 0 || joined.width == 0) return absl::OkStatus();
  const float* old = before > 0 ? ctx.Data<float>(past).data() : nullptr;
  float* at = to;
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t h = 0; h < heads; ++h) {
      at = std::copy_n(old + (b * heads + h) * before * joined.width, before * joined.width, at);
      for (int64_t r = 0; r < rows; ++r) {
        const float* row = view.At(b, h, r);
        for (int64_t i = 0; i < joined.width; ++i) {
          *at++ = row[i] + (bias != nullptr && flat ? bias[h * joined.width + i] : 0.0F);
        }
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace

// query [B, S, N D], key, value, bias [Q + K + V], key_padding_mask, attention_bias, past_key,
// past_value.
absl::Status ReadMultiHeadAttention(RunContext& ctx, HeadsFn attend) {
  if (!ctx.Has(1) || !ctx.Has(2) || ctx.In(0).dims.size() != 3 || ctx.In(1).dims.size() == 5) {
    return ctx.Unsupported("queries packed with keys and values are not computed");
  }
  if (ctx.Has(8) || ctx.Has(9) || ctx.output_count() > 3) {
    return ctx.Unsupported("a shared cache of past keys is not computed");
  }
  if (ctx.Has(6) != ctx.Has(7)) return ctx.Error("past_key and past_value go together");
  const Shape& in = ctx.In(0).dims;
  const int64_t heads = ctx.node().IntAttribute("num_heads", 0);
  if (heads < 1 || in[2] % heads != 0 || in[2] == 0 || ctx.In(0).dtype != DType::kFloat) {
    return ctx.Error(absl::StrCat("num_heads is ", heads, "; it must divide the width of query"));
  }
  HeadsCall call;
  call.batch = in[0];
  call.heads = call.kv_heads = heads;
  call.queries = in[1];
  call.width = in[2] / heads;
  const float* bias = nullptr;
  if (ctx.Has(3)) {
    const auto width = [&](size_t i) {
      const Shape& dims = ctx.In(i).dims;
      return dims.size() == 3 ? dims[2] : dims.size() == 4 ? SaturatingMul(dims[1], dims[3]) : 0;
    };
    if (!IsFloats(ctx, 3, {SaturatingAdd(SaturatingAdd(in[2], width(1)), width(2))}) ||
        width(1) != in[2]) {
      return ctx.Error("the bias must be as long as queries, keys and values are wide together");
    }
    bias = ctx.Data<float>(3).data();
  }
  Joined k;
  Joined v;
  std::shared_ptr<Buffer> k_scratch;
  std::shared_ptr<Buffer> v_scratch;
  RETURN_IF_ERROR(
      Join(ctx, 1, bias == nullptr ? nullptr : bias + in[2], 6, 1, in[0], heads, k, k_scratch));
  RETURN_IF_ERROR(
      Join(ctx, 2, bias == nullptr ? nullptr : bias + 2 * in[2], 7, 2, in[0], heads, v, v_scratch));
  if (k.rows != v.rows || k.width != call.width) {
    return ctx.Error("queries, keys and values do not fit together");
  }
  ASSIGN_OR_RETURN(Value* const y, ctx.Out(0));
  call.keys = k.rows;
  call.value_width = v.width;
  call.k = k.view;
  call.v = v.view;
  const float* q = ctx.Data<float>(0).data();
  std::shared_ptr<Buffer> biased;
  if (bias != nullptr) {
    ASSIGN_OR_RETURN(biased, ctx.Scratch(ctx.In(0).bytes()));
    auto* const to = reinterpret_cast<float*>(biased->data());
    for (int64_t i = 0; i < ctx.In(0).size(); ++i) to[i] = q[i] + bias[i % in[2]];
    q = to;
  }
  call.q = HeadsView<const float>::Flat(q, heads, in[1], call.width);
  call.out = HeadsView<float>::Flat(y->Mutable<float>().data(), heads, in[1], v.width);
  ReadScores(ctx, call);
  if (call.causal) call.offset.assign(static_cast<size_t>(in[0]), k.rows - in[1]);
  std::shared_ptr<Buffer> mask;
  RETURN_IF_ERROR(ReadBias(ctx, 4, 5, call, mask));
  return attend(call);
}

absl::Status MultiHeadAttention(RunContext& ctx) {
  return ReadMultiHeadAttention(ctx, [&](const HeadsCall& call) { return AttendHeads(ctx, call); });
}

}  // namespace lathe::engine
