// Attention of ai.onnx: Q, K, V, attn_mask, past_key, past_value, nonpad_kv_seqlen.
//
// Q, K, V are [B, heads, rows, width], or [B, rows, heads * width] with the numbers of heads as
// attributes. Keys and values of earlier calls (past) come before the new ones.
#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/engine/ops/forward/attention.h"
#include "worker/engine/ops/forward/attention_heads.h"
#include "worker/engine/ops/op_context.h"

namespace lathe::engine {
namespace {

constexpr float kMasked = -std::numeric_limits<float>::infinity();

// A tensor of heads, however it is given.
struct Heads {
  int64_t batch = 0;
  int64_t heads = 0;
  int64_t rows = 0;
  int64_t width = 0;
  HeadsView<const float> view;
};

absl::StatusOr<Heads> ReadHeads(const RunContext& ctx, size_t i, const char* attribute) {
  const Value& value = ctx.In(i);
  const Shape& dims = value.dims;
  if (value.dtype != DType::kFloat || (dims.size() != 3 && dims.size() != 4)) {
    return ctx.Error(absl::StrCat("input ", i, " must be floats of rank 3 or 4"));
  }
  const float* data = value.As<float>().data();
  Heads out;
  out.batch = dims[0];
  if (dims.size() == 4) {
    out.heads = dims[1];
    out.rows = dims[2];
    out.width = dims[3];
    out.view = HeadsView<const float>::Dense(data, out.heads, out.rows, out.width);
    return out;
  }
  out.heads = ctx.node().IntAttribute(attribute, 0);
  if (out.heads < 1 || dims[2] % out.heads != 0) {
    return ctx.Error(
        absl::StrCat(attribute, " is ", out.heads, "; it must divide the last axis of input ", i));
  }
  out.rows = dims[1];
  out.width = dims[2] / out.heads;
  out.view = HeadsView<const float>::Flat(data, out.heads, out.rows, out.width);
  return out;
}

// Puts past [B, heads, P, width] (input `past`, or nothing) and `fresh` one after the other: into
// output `output` when somebody reads it, else, where there is a past, into memory of this call.
absl::Status Extend(RunContext& ctx, size_t past, size_t output, Heads& fresh,
                    std::shared_ptr<Buffer>& scratch) {
  int64_t before = 0;
  if (ctx.Has(past)) {
    const Shape& dims = ctx.In(past).dims;
    if (ctx.In(past).dtype != DType::kFloat || dims.size() != 4 || dims[0] != fresh.batch ||
        dims[1] != fresh.heads || dims[3] != fresh.width) {
      return ctx.Error(absl::StrCat("input ", past, " must be floats [", fresh.batch, ", ",
                                    fresh.heads, ", P, ", fresh.width, "]"));
    }
    before = dims[2];
  } else if (!ctx.Wants(output)) {
    return absl::OkStatus();
  }
  const int64_t total = before + fresh.rows;
  float* to = nullptr;
  const Shape dims = {fresh.batch, fresh.heads, total, fresh.width};
  if (ctx.Wants(output)) {
    ASSIGN_OR_RETURN(Value* const present, ctx.Out(output, DType::kFloat, dims));
    to = present->Mutable<float>().data();
  } else {
    const int64_t bytes = ValueBytes(DType::kFloat, dims, Layout::kPlain);
    if (bytes < 0) return ctx.Error("past and new keys are too large together");
    ASSIGN_OR_RETURN(scratch, ctx.Scratch(bytes));
    to = reinterpret_cast<float*>(scratch->data());
  }
  // Without elements there may be any number of heads.
  const bool empty = total == 0 || fresh.width == 0;
  const float* from = before > 0 ? ctx.Data<float>(past).data() : nullptr;
  float* at = to;
  for (int64_t b = 0; b < (empty ? 0 : fresh.batch); ++b) {
    for (int64_t h = 0; h < fresh.heads; ++h) {
      const int64_t length = before * fresh.width;
      at = std::copy_n(from + (b * fresh.heads + h) * length, length, at);
      for (int64_t r = 0; r < fresh.rows; ++r) {
        at = std::copy_n(fresh.view.At(b, h, r), fresh.width, at);
      }
    }
  }
  fresh.rows = total;
  fresh.view = HeadsView<const float>::Dense(to, fresh.heads, total, fresh.width);
  return absl::OkStatus();
}

// attn_mask as a bias: [batch, heads, queries, keys] or what spreads over it; bool: true is looked
// at. A last axis that is too short goes on with -inf.
absl::Status ReadMask(RunContext& ctx, HeadsCall& call, std::shared_ptr<Buffer>& scratch) {
  if (!ctx.Has(3)) return absl::OkStatus();
  const Value& mask = ctx.In(3);
  const bool is_bool = mask.dtype == DType::kBool;
  const size_t rank = mask.dims.size();
  if ((!is_bool && mask.dtype != DType::kFloat) || rank < 1 || rank > 4) {
    return ctx.Error("attn_mask must be bool or of the inputs' type, with 1 to 4 axes");
  }
  Shape dims(4, 1);
  std::copy(mask.dims.begin(), mask.dims.end(), dims.end() - static_cast<int64_t>(rank));
  const Shape wanted = {call.batch, call.heads, call.queries, call.keys};
  for (size_t d = 0; d < 3; ++d) {
    if (dims[d] != 1 && dims[d] != wanted[d]) {
      return ctx.Error(absl::StrCat("attn_mask does not spread over [", call.batch, ", ",
                                    call.heads, ", ", call.queries, ", ", call.keys, "]"));
    }
  }
  const int64_t given = std::min(dims[3], call.keys);
  const float* data = nullptr;
  int64_t row = dims[3];
  if (is_bool || given < call.keys) {
    row = call.keys;
    const int64_t rows = dims[0] * dims[1] * dims[2];
    ASSIGN_OR_RETURN(scratch, ctx.Scratch(SaturatingMul(SaturatingMul(rows, row), 4)));
    auto* const to = reinterpret_cast<float*>(scratch->data());
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t j = 0; j < given; ++j) {
        const int64_t at = r * dims[3] + j;
        to[r * row + j] = !is_bool                      ? mask.As<float>()[at]
                          : mask.As<uint8_t>()[at] != 0 ? 0.0F
                                                        : kMasked;
      }
      std::fill_n(to + r * row + given, row - given, kMasked);
    }
    data = to;
  } else {
    data = mask.As<float>().data();
  }
  call.bias.data = data;
  call.bias.row = dims[2] == 1 ? 0 : row;
  call.bias.head = dims[1] == 1 ? 0 : row * dims[2];
  call.bias.batch = dims[0] == 1 ? 0 : row * dims[2] * dims[1];
  return absl::OkStatus();
}

// Where queries stand among the keys, and how many of the keys exist.
absl::Status ReadPositions(const RunContext& ctx, int64_t past, HeadsCall& call) {
  call.causal = ctx.node().IntAttribute("is_causal", 0) != 0;
  call.left = ctx.node().IntAttribute("left_window_size", -1);
  call.right = ctx.node().IntAttribute("right_window_size", -1);
  for (int64_t* window : {&call.left, &call.right}) {
    if (*window < -1) return ctx.Error("window sizes must be -1 or more");
    *window = std::min(*window, kMaxExtent);
  }
  call.offset.assign(static_cast<size_t>(call.batch), past);
  if (!ctx.Has(6)) return absl::OkStatus();
  if (ctx.Has(4)) return ctx.Error("nonpad_kv_seqlen and past_key exclude each other");
  ASSIGN_OR_RETURN(call.valid, ctx.Ints(6));
  if (static_cast<int64_t>(call.valid.size()) != call.batch) {
    return ctx.Error(absl::StrCat("nonpad_kv_seqlen must have ", call.batch, " elements"));
  }
  for (int64_t b = 0; b < call.batch; ++b) {
    if (call.valid[b] < 0 || call.valid[b] > call.keys) {
      return ctx.Error(
          absl::StrCat("nonpad_kv_seqlen ", call.valid[b], " must lie in [0, ", call.keys, "]"));
    }
    call.offset[b] = call.valid[b] - call.queries;
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ReadOnnxAttention(RunContext& ctx, HeadsFn attend) {
  ASSIGN_OR_RETURN(const Heads q, ReadHeads(ctx, 0, "q_num_heads"));
  ASSIGN_OR_RETURN(Heads k, ReadHeads(ctx, 1, "kv_num_heads"));
  ASSIGN_OR_RETURN(Heads v, ReadHeads(ctx, 2, "kv_num_heads"));
  if (ctx.Has(4) != ctx.Has(5)) return ctx.Error("past_key and past_value go together");
  if (k.batch != q.batch || v.batch != q.batch || k.width != q.width || k.heads != v.heads ||
      k.rows != v.rows || k.heads < 1 || q.heads % k.heads != 0 || q.width < 1) {
    return ctx.Error("queries, keys and values do not fit together");
  }
  std::shared_ptr<Buffer> k_scratch;
  std::shared_ptr<Buffer> v_scratch;
  const int64_t past = ctx.Has(4) && ctx.In(4).dims.size() == 4 ? ctx.In(4).dims[2] : 0;
  RETURN_IF_ERROR(Extend(ctx, 4, 1, k, k_scratch));
  RETURN_IF_ERROR(Extend(ctx, 5, 2, v, v_scratch));
  if (k.rows != v.rows) return ctx.Error("past_key and past_value differ in length");
  ASSIGN_OR_RETURN(Value* const y, ctx.Out(0));

  HeadsCall call;
  call.batch = q.batch;
  call.heads = q.heads;
  call.kv_heads = k.heads;
  call.queries = q.rows;
  call.keys = k.rows;
  call.width = q.width;
  call.value_width = v.width;
  call.q = q.view;
  call.k = k.view;
  call.v = v.view;
  float* const out = y->Mutable<float>().data();
  call.out = ctx.In(0).dims.size() == 4 ? HeadsView<float>::Dense(out, q.heads, q.rows, v.width)
                                        : HeadsView<float>::Flat(out, q.heads, q.rows, v.width);
  const float scale = ctx.node().FloatAttribute("scale", 0);
  const bool given = ctx.node().FindAttribute("scale") != nullptr;
  call.scale = given ? scale : 1.0F / std::sqrt(static_cast<float>(q.width));
  call.softcap = ctx.node().FloatAttribute("softcap", 0);
  RETURN_IF_ERROR(ReadPositions(ctx, past, call));
  std::shared_ptr<Buffer> mask;
  RETURN_IF_ERROR(ReadMask(ctx, call, mask));
  if (ctx.Wants(3)) {
    const int64_t mode = ctx.node().IntAttribute("qk_matmul_output_mode", 0);
    if (mode < 0 || mode > 3) return ctx.Error(absl::StrCat("qk_matmul_output_mode ", mode));
    ASSIGN_OR_RETURN(Value* const kept, ctx.Out(3));
    call.kept = kept->Mutable<float>().data();
    call.keep = static_cast<HeadsCall::Keep>(mode);
  }
  return attend(call);
}

absl::Status OnnxAttention(RunContext& ctx) {
  return ReadOnnxAttention(ctx, [&](const HeadsCall& call) { return AttendHeads(ctx, call); });
}

}  // namespace lathe::engine
