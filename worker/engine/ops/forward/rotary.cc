// RotaryEmbedding, of ai.onnx and com.microsoft: the first D elements of a head are D / 2 points in
// the plane, each turned by an angle of its own.
//
//   (a, b) -> (a cos - b sin, a sin + b cos)
//
// (a, b) are elements i and i + D / 2, or with `interleaved` 2 i and 2 i + 1.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/engine/ops/forward/attention.h"
#include "worker/engine/ops/forward/attention_heads.h"
#include "worker/engine/ops/op_context.h"

namespace lathe::engine {
namespace {

struct Inputs {
  size_t positions;
  size_t cos;
  size_t sin;
};

// The caches' row for each [batch, row] of the input.
absl::StatusOr<std::vector<int64_t>> CacheRows(const RunContext& ctx, const Inputs& inputs,
                                               int64_t batch, int64_t rows) {
  const Shape& cache = ctx.In(inputs.cos).dims;
  std::vector<int64_t> out(static_cast<size_t>(batch * rows));
  if (!ctx.Has(inputs.positions)) {
    if (cache.size() != 3 || cache[0] != batch || cache[1] != rows) {
      return ctx.Error(
          absl::StrCat("without position_ids the caches must be [", batch, ", ", rows, ", D / 2]"));
    }
    for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<int64_t>(i);
    return out;
  }
  if (cache.size() != 2)
    return ctx.Error("with position_ids the caches must be [positions, D / 2]");
  ASSIGN_OR_RETURN(const std::vector<int64_t> given, ctx.Ints(inputs.positions));
  // com.microsoft: a single number is where the first row stands.
  const bool start = given.size() == 1 && ctx.In(inputs.positions).dims.size() < 2;
  if (!start && given.size() != out.size()) {
    return ctx.Error(absl::StrCat("position_ids must be [", batch, ", ", rows, "]"));
  }
  for (size_t i = 0; i < out.size(); ++i) {
    const int64_t row = static_cast<int64_t>(i) % std::max<int64_t>(rows, 1);
    out[i] = start ? SaturatingAdd(given[0], row) : given[i];
    if (out[i] < 0 || out[i] >= cache[0]) {
      return ctx.Error(absl::StrCat("position ", out[i], " is not in the caches' ", cache[0]));
    }
  }
  return out;
}

absl::Status Rotate(RunContext& ctx, const Inputs& inputs) {
  const Value& x = ctx.In(0);
  const Value& cos = ctx.In(inputs.cos);
  const Value& sin = ctx.In(inputs.sin);
  const Shape& dims = x.dims;
  if (x.dtype != DType::kFloat || cos.dtype != DType::kFloat || sin.dtype != DType::kFloat ||
      cos.dims != sin.dims || cos.dims.empty() || (dims.size() != 3 && dims.size() != 4)) {
    return ctx.Error("the input must have rank 3 or 4, and the caches one shape");
  }
  const Node& node = ctx.node();
  const int64_t given = node.IntAttribute("rotary_embedding_dim", 0);
  const bool flat = dims.size() == 3;
  int64_t heads = flat ? node.IntAttribute("num_heads", 0) : dims[1];
  // Heads of which no number is given are as wide as the caches tell.
  if (flat && heads == 0 && given == 0 && cos.dims.back() > 0) {
    heads = dims[2] / 2 / cos.dims.back();
  }
  if (heads < 1 || (flat && dims[2] % heads != 0)) {
    return ctx.Error(absl::StrCat("num_heads is ", heads, "; it must divide the last axis"));
  }
  const int64_t width = flat ? dims[2] / heads : dims[3];
  const int64_t turned = given == 0 ? width : given;
  if (turned < 0 || turned > width || turned % 2 != 0 || cos.dims.back() != turned / 2) {
    return ctx.Error(absl::StrCat("the caches must be half as wide as the ", turned,
                                  " of each head's ", width, " elements that are turned"));
  }
  const int64_t batch = dims[0];
  const int64_t rows = flat ? dims[1] : dims[2];
  const bool interleaved = node.IntAttribute("interleaved", 0) != 0;
  if (x.size() == 0) return ctx.Out(0).status();
  ASSIGN_OR_RETURN(const std::vector<int64_t> cache_rows, CacheRows(ctx, inputs, batch, rows));
  ASSIGN_OR_RETURN(Value* const y, ctx.Out(0));
  using In = HeadsView<const float>;
  using Out = HeadsView<float>;
  const float* data = x.As<float>().data();
  float* const out = y->Mutable<float>().data();
  const In from = flat ? In::Flat(data, heads, rows, width) : In::Dense(data, heads, rows, width);
  const Out to = flat ? Out::Flat(out, heads, rows, width) : Out::Dense(out, heads, rows, width);
  const int64_t half = turned / 2;
  const int64_t step = interleaved ? 2 : 1;
  const int64_t apart = interleaved ? 1 : half;
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t r = 0; r < rows; ++r) {
      const float* c = cos.As<float>().data() + cache_rows[b * rows + r] * half;
      const float* s = sin.As<float>().data() + cache_rows[b * rows + r] * half;
      for (int64_t h = 0; h < heads; ++h) {
        const float* in = from.At(b, h, r);
        float* result = to.At(b, h, r);
        for (int64_t i = 0; i < half; ++i) {
          const float left = in[i * step];
          const float right = in[i * step + apart];
          result[i * step] = left * c[i] - right * s[i];
          result[i * step + apart] = left * s[i] + right * c[i];
        }
        std::copy(in + turned, in + width, result + turned);
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status RotaryEmbedding(RunContext& ctx) { return Rotate(ctx, {3, 1, 2}); }

absl::Status ContribRotaryEmbedding(RunContext& ctx) {
  if (ctx.node().IntAttribute("is_packed_batching", 0) != 0) {
    return ctx.Unsupported("is_packed_batching is not computed");
  }
  return Rotate(ctx, {1, 2, 3});
}

}  // namespace lathe::engine
