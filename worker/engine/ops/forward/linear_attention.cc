// Sequence operators with a state that takes the place of earlier keys.
//
// LinearAttention: for every step t, with the state S [d_k, d_v] of a head,
//   S := exp(decay) S            (update_rule gated, gated_delta)
//   v := beta (v - S^T k)        (delta, gated_delta)
//   S := S + k v^T,  y = scale S^T q
// CausalConvWithState: a depthwise convolution over the last k inputs, those before the first one
// from the state.
#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/engine/ops/forward/attention.h"
#include "worker/engine/ops/op_context.h"

namespace lathe::engine {
namespace {

struct Linear {
  int64_t batch = 0;
  int64_t steps = 0;
  int64_t heads = 0;
  int64_t kv_heads = 0;
  int64_t d_k = 0;
  int64_t d_v = 0;
  int64_t decay_width = 0;  // 0: no decay; 1 or d_k a head
  int64_t beta_width = 0;   // 0: no beta; 1 or kv_heads
};

absl::StatusOr<Linear> ReadLinear(const RunContext& ctx) {
  const Node& node = ctx.node();
  Linear l;
  l.heads = node.IntAttribute("q_num_heads", 0);
  l.kv_heads = node.IntAttribute("kv_num_heads", 0);
  if (l.heads < 1 || l.kv_heads < 1 || l.heads % l.kv_heads != 0) {
    return ctx.Error("q_num_heads must be a multiple of kv_num_heads");
  }
  for (size_t i = 0; i < 6; ++i) {
    if ((i < 3 || ctx.Has(i)) &&
        (ctx.In(i).dtype != DType::kFloat || ctx.In(i).dims.size() != (i == 3 ? 4 : 3))) {
      return ctx.Error(absl::StrCat("input ", i, " must be floats of rank ", i == 3 ? 4 : 3));
    }
  }
  const Shape& q = ctx.In(0).dims;
  const Shape& k = ctx.In(1).dims;
  const Shape& v = ctx.In(2).dims;
  l.batch = q[0];
  l.steps = q[1];
  l.d_k = q[2] / l.heads;
  l.d_v = v[2] / l.kv_heads;
  if (q[2] != l.d_k * l.heads || v[2] != l.d_v * l.kv_heads ||
      k != Shape({l.batch, l.steps, l.d_k * l.kv_heads}) || v[0] != l.batch || v[1] != l.steps) {
    return ctx.Error("query, key and value do not fit together");
  }
  const std::string rule = node.StringAttribute("update_rule", "gated_delta");
  const bool gated = rule == "gated" || rule == "gated_delta";
  const bool delta = rule == "delta" || rule == "gated_delta";
  if (!gated && !delta && rule != "linear") {
    return ctx.Error(absl::StrCat("update_rule ", rule, " is not known"));
  }
  if (ctx.Has(4) != gated || ctx.Has(5) != delta) {
    return ctx.Error(
        absl::StrCat("update_rule ", rule, " does not go with the decay and beta given"));
  }
  if (gated) {
    const Shape& dims = ctx.In(4).dims;
    l.decay_width = dims[2] == l.kv_heads ? 1 : l.d_k;
    if (dims != Shape({l.batch, l.steps, l.kv_heads * l.decay_width})) {
      return ctx.Error("decay must have one element a head, or one for each of its keys");
    }
  }
  if (delta) {
    const Shape& dims = ctx.In(5).dims;
    l.beta_width = dims[2];
    if (dims[0] != l.batch || dims[1] != l.steps || (dims[2] != 1 && dims[2] != l.kv_heads)) {
      return ctx.Error("beta must have one element a head, or one");
    }
  }
  if (ctx.Has(3) && ctx.In(3).dims != Shape({l.batch, l.kv_heads, l.d_k, l.d_v})) {
    return ctx.Error(absl::StrCat("past_state must be [", l.batch, ", ", l.kv_heads, ", ", l.d_k,
                                  ", ", l.d_v, "]"));
  }
  return l;
}

}  // namespace

absl::Status LinearAttention(RunContext& ctx) {
  ASSIGN_OR_RETURN(const Linear l, ReadLinear(ctx));
  float scale = ctx.node().FloatAttribute("scale", 0);
  if (scale == 0) scale = 1.0F / std::sqrt(static_cast<float>(l.d_k));
  ASSIGN_OR_RETURN(Value* const y, ctx.Out(0, DType::kFloat, {l.batch, l.steps, l.heads * l.d_v}));
  const Shape state_dims = {l.batch, l.kv_heads, l.d_k, l.d_v};
  std::shared_ptr<Buffer> scratch;
  float* states = nullptr;
  if (ctx.Wants(1)) {
    ASSIGN_OR_RETURN(Value* const present, ctx.Out(1, DType::kFloat, state_dims));
    states = present->Mutable<float>().data();
  } else {
    const int64_t bytes = ValueBytes(DType::kFloat, state_dims, Layout::kPlain);
    if (bytes < 0) return ctx.Error("the state is too large");
    ASSIGN_OR_RETURN(scratch, ctx.Scratch(bytes));
    states = reinterpret_cast<float*>(scratch->data());
  }
  // Without elements there may be any number of steps.
  if (l.d_k == 0 && l.d_v == 0) return absl::OkStatus();
  const int64_t state_size = l.d_k * l.d_v;
  const int64_t all_states = l.batch * l.kv_heads * state_size;
  if (ctx.Has(3)) {
    std::copy_n(ctx.Data<float>(3).data(), all_states, states);
  } else {
    std::fill_n(states, all_states, 0.0F);
  }
  const int64_t group = l.heads / l.kv_heads;
  float* const out = y->Mutable<float>().data();
  std::vector<float> written(static_cast<size_t>(l.d_v));
  for (int64_t b = 0; b < l.batch; ++b) {
    for (int64_t h = 0; h < l.kv_heads; ++h) {
      float* const state = states + (b * l.kv_heads + h) * state_size;
      for (int64_t t = 0; t < l.steps; ++t) {
        const int64_t at = b * l.steps + t;
        RETURN_IF_ERROR(ctx.Spend(2 * state_size + 1));
        const float* k = ctx.Data<float>(1).data() + (at * l.kv_heads + h) * l.d_k;
        const float* v = ctx.Data<float>(2).data() + (at * l.kv_heads + h) * l.d_v;
        if (l.decay_width > 0) {
          const float* decay = ctx.Data<float>(4).data() + (at * l.kv_heads + h) * l.decay_width;
          for (int64_t i = 0; i < l.d_k; ++i) {
            const float kept = std::exp(decay[l.decay_width == 1 ? 0 : i]);
            for (int64_t j = 0; j < l.d_v; ++j) state[i * l.d_v + j] *= kept;
          }
        }
        std::copy_n(v, l.d_v, written.data());
        if (l.beta_width > 0) {
          const float beta = ctx.Data<float>(5)[at * l.beta_width + (l.beta_width == 1 ? 0 : h)];
          for (int64_t i = 0; i < l.d_k; ++i) {
            for (int64_t j = 0; j < l.d_v; ++j) written[j] -= state[i * l.d_v + j] * k[i];
          }
          for (float& w : written) w *= beta;
        }
        for (int64_t i = 0; i < l.d_k; ++i) {
          for (int64_t j = 0; j < l.d_v; ++j) state[i * l.d_v + j] += k[i] * written[j];
        }
        for (int64_t g = h * group; g < (h + 1) * group; ++g) {
          const float* q = ctx.Data<float>(0).data() + (at * l.heads + g) * l.d_k;
          float* const to = out + (at * l.heads + g) * l.d_v;
          std::fill_n(to, l.d_v, 0.0F);
          for (int64_t i = 0; i < l.d_k; ++i) {
            for (int64_t j = 0; j < l.d_v; ++j) to[j] += q[i] * state[i * l.d_v + j];
          }
          for (int64_t j = 0; j < l.d_v; ++j) to[j] *= scale;
        }
      }
    }
  }
  return absl::OkStatus();
}

// input [B, C, L], weight [C, 1, k], bias [C], past_state [B, C, k - 1].
absl::Status CausalConvWithState(RunContext& ctx) {
  const Shape& dims = ctx.In(0).dims;
  const Shape& w_dims = ctx.In(1).dims;
  if (ctx.In(0).dtype != DType::kFloat || ctx.In(1).dtype != DType::kFloat || dims.size() != 3 ||
      w_dims.size() != 3 || w_dims[0] != dims[1] || w_dims[1] != 1 || w_dims[2] < 1) {
    return ctx.Error("the input must be [B, C, L] and the weight [C, 1, k]");
  }
  const int64_t batch = dims[0];
  const int64_t channels = dims[1];
  const int64_t length = dims[2];
  const int64_t taps = w_dims[2];
  const Shape state_dims = {batch, channels, taps - 1};
  if ((ctx.Has(2) && (ctx.In(2).dtype != DType::kFloat || ctx.In(2).dims != Shape({channels}))) ||
      (ctx.Has(3) && (ctx.In(3).dtype != DType::kFloat || ctx.In(3).dims != state_dims))) {
    return ctx.Error(absl::StrCat("the bias must be [", channels, "] and past_state [", batch, ", ",
                                  channels, ", ", taps - 1, "]"));
  }
  const std::string activation = ctx.node().StringAttribute("activation", "none");
  const bool silu = activation == "silu" || activation == "swish";
  if (!silu && activation != "none") {
    return ctx.Error(absl::StrCat("activation ", activation, " is not known"));
  }
  ASSIGN_OR_RETURN(Value* const y, ctx.Out(0, DType::kFloat, dims));
  Value* present = nullptr;
  if (ctx.Wants(1)) {
    ASSIGN_OR_RETURN(present, ctx.Out(1, DType::kFloat, state_dims));
  }
  if (y->size() == 0 && (present == nullptr || present->size() == 0)) return absl::OkStatus();
  std::vector<float> padded(static_cast<size_t>(taps - 1 + length), 0.0F);
  for (int64_t row = 0; row < batch * channels; ++row) {
    const int64_t channel = row % channels;
    if (ctx.Has(3)) {
      std::copy_n(ctx.Data<float>(3).data() + row * (taps - 1), taps - 1, padded.begin());
    }
    std::copy_n(ctx.Data<float>(0).data() + row * length, length, padded.begin() + (taps - 1));
    const float* w = ctx.Data<float>(1).data() + channel * taps;
    float* const to = y->Mutable<float>().data() + row * length;
    std::fill_n(to, length, ctx.Has(2) ? ctx.Data<float>(2)[channel] : 0.0F);
    for (int64_t tap = 0; tap < taps; ++tap) {
      for (int64_t t = 0; t < length; ++t) to[t] += w[tap] * padded[t + tap];
    }
    if (silu) {
      for (int64_t t = 0; t < length; ++t) to[t] /= 1.0F + std::exp(-to[t]);
    }
    if (present != nullptr) {
      std::copy_n(padded.begin() + length, taps - 1,
                  present->Mutable<float>().data() + row * (taps - 1));
    }
  }
  return absl::OkStatus();
}

}  // namespace lathe::engine
