// LSTM, GRU, RNN. One product over all steps brings the inputs to the gates; each step then adds
// its own product with the state.
//
//   LSTM: i, o, f, c = x W' + h R' + b;  C = f(f + Pf C) C + f(i + Pi C) g(c);
//         H = f(o + Po C) h(C)
//   GRU:  z, r = f(x W' + h R' + b);  n = g(x Wn' + (r h) Rn' + b), or g(x Wn' + bw + r (h Rn' +
//         br)) with linear_before_reset;  H = (1 - z) n + z h
//   RNN:  H = f(x W' + h R' + b)
#include "worker/engine/ops/forward/recurrent.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/engine/kernels/dynamic_range.h"
#include "worker/engine/kernels/row_kernels.h"
#include "worker/engine/ops/forward/forward.h"
#include "worker/engine/ops/forward/recurrent_activation.h"
#include "worker/engine/ops/forward/recurrent_layer.h"

namespace lathe::engine {
namespace {

using Kind = RecurrentActivation::Kind;

// Packed weights: of each direction W, R (or its first gates), and the rest of R.
constexpr int64_t kSlotsADirection = 3;

// A layer with its weights.
struct Layer : RecurrentLayer {
  const float* w = nullptr;  // [directions, gates * hidden, width]
  const float* r = nullptr;  // [directions, gates * hidden, hidden]
  bool constant_w = false;   // may be packed once for all runs
  bool constant_r = false;
  bool rounded = false;  // the products' other side is, to 8 bits
};

// `given`: weights in place of inputs 1 and 2; nullptr: these are the weights.
absl::StatusOr<Layer> ReadLayer(RunContext& ctx, int64_t gates,
                                const std::vector<Kind>& activations,
                                const RecurrentWeights* given) {
  Layer l;
  if (given == nullptr) {
    ASSIGN_OR_RETURN(static_cast<RecurrentLayer&>(l), ReadRecurrentLayer(ctx, gates, activations));
    l.w = ctx.Data<float>(1).data();
    l.r = ctx.Data<float>(2).data();
    l.constant_w = ctx.IsConstant(1);
    l.constant_r = ctx.IsConstant(2);
    return l;
  }
  std::vector<Value> inputs(ctx.inputs().begin(), ctx.inputs().end());
  const int64_t rows = gates * given->hidden;
  inputs[1] = Value::Borrow(DType::kFloat, {given->directions, rows, given->width}, given->w);
  inputs[2] = Value::Borrow(DType::kFloat, {given->directions, rows, given->hidden}, given->r);
  absl::StatusOr<RecurrentLayer> layer = RecurrentLayerOf(ctx.node(), inputs, gates, activations);
  if (!layer.ok()) {
    const std::string what(layer.status().message());
    return absl::IsUnimplemented(layer.status()) ? ctx.Unsupported(what) : ctx.Error(what);
  }
  static_cast<RecurrentLayer&>(l) = *std::move(layer);
  l.w = given->w;
  l.r = given->r;
  l.constant_w = l.constant_r = given->constant;
  l.rounded = true;
  return l;
}

// x as DynamicQuantizeLinear and DequantizeLinear give it; the range is that of the first `ranged`.
void RoundTo8Bits(const float* x, int64_t ranged, int64_t count, float* out) {
  const DynamicRange range = FindDynamicRange(x, ranged);
  const auto zero = static_cast<float>(range.zero_point);
  for (int64_t i = 0; i < count; ++i) {
    const float q = std::nearbyint(x[i] / range.scale) + zero;
    out[i] = (std::clamp(q, 0.0f, 255.0f) - zero) * range.scale;
  }
}

// One direction's weights and state while it runs.
struct Pass {
  const Layer& layer;
  RunContext& ctx;
  GemmKernel& gemm;
  int64_t direction;
  float* gates;  // [steps, batch, gates * hidden]: x W' + b
  float* h;      // [batch, hidden]
  float* c;      // likewise; LSTM
  float* room;   // [batch, (gates + 1) * hidden]
  // Rounded: whose state counts for the range of this step, as in ONNX Runtime: a sequence that is
  // over does so for one step more, and to the end where nobody reads Y.
  const std::vector<bool>* counted;

  const float* Input(size_t i, int64_t each) const {
    return ctx.Has(i) ? ctx.Data<float>(i).data() + direction * each : nullptr;
  }
  const RecurrentActivation& f(size_t i) const {
    return layer.activations[static_cast<size_t>(direction) * layer.activations_each + i];
  }
  // out [batch, count * hidden] (+)= a R[first gate ...]'
  absl::Status TimesR(const float* a, int64_t first, int64_t count, int64_t slot, bool accumulate,
                      const float* bias, float* out) const {
    GemmArgs g;
    g.trans_b = true;
    g.m = layer.batch;
    g.n = count * layer.hidden;
    g.k = layer.hidden;
    g.a = a;
    g.b = layer.r + (direction * layer.gates + first) * layer.hidden * layer.hidden;
    g.b_slot = layer.constant_r ? kSlotsADirection * direction + slot : -1;
    g.accumulate = accumulate;
    g.bias = bias;
    g.c = out;
    return gemm.Run(g);
  }
};

// A step: gates [batch, gates * hidden] of this step; updates h (and c) of the rows that `live`
// says.
using Step = absl::Status (*)(const Pass& pass, float* gates, const std::vector<bool>& live);

absl::Status LstmStep(const Pass& p, float* gates, const std::vector<bool>& live) {
  const int64_t n = p.layer.hidden;
  const float* state = p.h;
  if (p.layer.rounded) {
    const int64_t count = p.layer.batch * n;
    for (int64_t b = 0; b < p.layer.batch; ++b) {
      const bool on = (*p.counted)[static_cast<size_t>(b)];
      for (int64_t k = 0; k < n; ++k) p.room[b * n + k] = on ? p.h[b * n + k] : 0.0f;
    }
    RoundTo8Bits(p.room, count, count, p.room);
    state = p.room;
  }
  RETURN_IF_ERROR(p.TimesR(state, 0, 4, 1, true, nullptr, gates));
  const float* peephole = p.Input(7, 3 * n);
  const bool couple = p.ctx.node().IntAttribute("input_forget", 0) != 0;
  const bool usual = p.f(0).Is(Kind::kSigmoid) && p.f(1).Is(Kind::kTanh) &&
                     p.f(2).Is(Kind::kTanh) && p.layer.clip <= 0 && !couple &&
                     p.ctx.backend().name() != "reference";
  for (int64_t b = 0; b < p.layer.batch; ++b, gates += 4 * n) {
    if (!live[static_cast<size_t>(b)]) continue;
    float* c = p.c + b * n;
    float* h = p.h + b * n;
    if (usual) {
      LstmCell(n, gates, peephole, c, h);
      continue;
    }
    float* in = gates;
    float* out = gates + n;
    float* forget = gates + 2 * n;
    float* fresh = gates + 3 * n;
    for (int64_t k = 0; peephole != nullptr && k < n; ++k) {
      in[k] += peephole[k] * c[k];
      forget[k] += peephole[2 * n + k] * c[k];
    }
    p.f(0).Apply(p.layer.clip, n, in);
    p.f(0).Apply(p.layer.clip, n, forget);
    p.f(1).Apply(p.layer.clip, n, fresh);
    for (int64_t k = 0; k < n; ++k) {
      c[k] = (couple ? 1.0f - in[k] : forget[k]) * c[k] + in[k] * fresh[k];
      if (peephole != nullptr) out[k] += peephole[n + k] * c[k];
      h[k] = c[k];
    }
    p.f(0).Apply(p.layer.clip, n, out);
    p.f(2).Apply(0, n, h);
    for (int64_t k = 0; k < n; ++k) h[k] *= out[k];
  }
  return absl::OkStatus();
}

absl::Status GruStep(const Pass& p, float* gates, const std::vector<bool>& live) {
  const int64_t n = p.layer.hidden;
  const int64_t batch = p.layer.batch;
  const bool linear = p.ctx.node().IntAttribute("linear_before_reset", 0) != 0;
  float* zr = p.room;                     // [batch, 2 n]
  float* fresh = p.room + batch * 2 * n;  // [batch, n]
  RETURN_IF_ERROR(p.TimesR(p.h, 0, 2, 1, false, nullptr, zr));
  for (int64_t b = 0; b < batch; ++b) {
    float* row = zr + b * 2 * n;
    for (int64_t k = 0; k < 2 * n; ++k) row[k] += gates[b * 3 * n + k];
    p.f(0).Apply(p.layer.clip, 2 * n, row);
  }
  const float* bias = p.Input(3, 6 * n);
  if (linear) {
    const float* rb = bias == nullptr ? nullptr : bias + 5 * n;
    RETURN_IF_ERROR(p.TimesR(p.h, 2, 1, 2, false, rb, fresh));
    for (int64_t b = 0; b < batch; ++b) {
      for (int64_t k = 0; k < n; ++k) fresh[b * n + k] *= zr[b * 2 * n + n + k];
    }
  } else {
    float* kept = p.room + batch * 3 * n;  // r h
    for (int64_t b = 0; b < batch; ++b) {
      for (int64_t k = 0; k < n; ++k) kept[b * n + k] = zr[b * 2 * n + n + k] * p.h[b * n + k];
    }
    RETURN_IF_ERROR(p.TimesR(kept, 2, 1, 2, false, nullptr, fresh));
  }
  for (int64_t b = 0; b < batch; ++b) {
    if (!live[static_cast<size_t>(b)]) continue;
    float* row = fresh + b * n;
    for (int64_t k = 0; k < n; ++k) row[k] += gates[b * 3 * n + 2 * n + k];
    p.f(1).Apply(p.layer.clip, n, row);
    const float* z = zr + b * 2 * n;
    float* h = p.h + b * n;
    for (int64_t k = 0; k < n; ++k) h[k] = (1.0f - z[k]) * row[k] + z[k] * h[k];
  }
  return absl::OkStatus();
}

absl::Status RnnStep(const Pass& p, float* gates, const std::vector<bool>& live) {
  const int64_t n = p.layer.hidden;
  RETURN_IF_ERROR(p.TimesR(p.h, 0, 1, 1, true, nullptr, gates));
  for (int64_t b = 0; b < p.layer.batch; ++b) {
    if (!live[static_cast<size_t>(b)]) continue;
    p.f(0).Apply(p.layer.clip, n, gates + b * n);
    std::copy_n(gates + b * n, n, p.h + b * n);
  }
  return absl::OkStatus();
}

// The bias of all gates that x W' can carry: Wb + Rb, but for a GRU's last gate under
// linear_before_reset, whose Rb is reset.
std::vector<float> GateBias(const RunContext& ctx, const RecurrentLayer& l, int64_t direction) {
  if (!ctx.Has(3)) return {};
  const int64_t n = l.gates * l.hidden;
  const float* wb = ctx.Data<float>(3).data() + direction * 2 * n;
  std::vector<float> bias(wb, wb + n);
  const bool linear = l.gates == 3 && ctx.node().IntAttribute("linear_before_reset", 0) != 0;
  const int64_t joint = linear ? 2 * l.hidden : n;
  for (int64_t i = 0; i < joint; ++i) bias[static_cast<size_t>(i)] += wb[n + i];
  return bias;
}

// Copies a state [directions, batch, hidden] ([batch, directions, hidden] when batch_first) of one
// direction from or to [batch, hidden].
void MoveState(const RecurrentLayer& l, int64_t direction, bool out, float* whole, float* part) {
  for (int64_t b = 0; b < l.batch; ++b) {
    const int64_t row = l.batch_first ? b * l.directions + direction : direction * l.batch + b;
    float* at = whole + row * l.hidden;
    if (out) {
      std::copy_n(part + b * l.hidden, l.hidden, at);
    } else {
      std::copy_n(at, l.hidden, part + b * l.hidden);
    }
  }
}

// Each sequence of x [steps, batch, width] from its end to its beginning; what lies behind it
// stays.
void TurnSequences(const Layer& l, const float* x, float* out) {
  for (int64_t t = 0; t < l.steps; ++t) {
    for (int64_t b = 0; b < l.batch; ++b) {
      const int64_t length = l.lengths[static_cast<size_t>(b)];
      const int64_t from = t < length ? length - 1 - t : t;
      std::copy_n(x + (from * l.batch + b) * l.width, l.width, out + (t * l.batch + b) * l.width);
    }
  }
}

absl::Status RunDirection(RunContext& ctx, const Layer& l, int64_t direction, const float* x,
                          Step step, float* gates, float* room, float* y, float* last_h,
                          float* last_c) {
  auto& state = ctx.State<RecurrentState>();
  if (state.kernel == nullptr) state.kernel = ctx.backend().MakeGemm();
  const int64_t n = l.gates * l.hidden;
  float* h = room;
  float* c = h + l.batch * l.hidden;
  std::vector<bool> counted(static_cast<size_t>(l.batch), true);
  const Pass pass{l, ctx, *state.kernel, direction, gates, h, c, c + l.batch * l.hidden, &counted};
  const std::vector<float> bias = GateBias(ctx, l, direction);
  GemmArgs g;
  g.trans_b = true;
  g.m = l.steps * l.batch;
  g.n = n;
  g.k = l.width;
  g.a = x;
  g.b = l.w + direction * n * l.width;
  g.b_slot = l.constant_w ? kSlotsADirection * direction : -1;
  g.bias = bias.empty() ? nullptr : bias.data();
  g.c = gates;
  RETURN_IF_ERROR(state.kernel->Run(g));
  std::fill_n(h, 2 * l.batch * l.hidden, 0.0f);
  const auto begin = [&](size_t input, float* to) {
    if (ctx.Has(input)) {
      MoveState(l, direction, false, const_cast<float*>(ctx.Data<float>(input).data()), to);
    }
  };
  begin(5, h);
  if (l.gates == 4) begin(6, c);
  const bool backwards = l.reversed || direction == 1;
  // Sequences that share a range must be at the same step of their own: `x` is turned then.
  const bool turned = backwards && l.rounded;
  std::vector<bool> live(static_cast<size_t>(l.batch));
  for (int64_t s = 0; s < l.steps; ++s) {
    const int64_t t = backwards && !turned ? l.steps - 1 - s : s;
    for (size_t b = 0; b < live.size(); ++b) {
      if (s > 0) counted[b] = y == nullptr || live[b];
      live[b] = t < l.lengths[b];
    }
    RETURN_IF_ERROR(ctx.Spend(SaturatingMul(SaturatingMul(l.batch, n), l.hidden)));
    RETURN_IF_ERROR(step(pass, gates + t * l.batch * n, live));
    if (y == nullptr) continue;
    for (int64_t b = 0; b < l.batch; ++b) {
      const bool on = live[static_cast<size_t>(b)];
      const int64_t at = turned && on ? l.lengths[static_cast<size_t>(b)] - 1 - t : t;
      const int64_t row = l.batch_first ? (b * l.steps + at) * l.directions + direction
                                        : (at * l.directions + direction) * l.batch + b;
      if (on) {
        std::copy_n(h + b * l.hidden, l.hidden, y + row * l.hidden);
      } else {
        std::fill_n(y + row * l.hidden, l.hidden, 0.0f);
      }
    }
  }
  if (last_h != nullptr) MoveState(l, direction, true, last_h, h);
  if (last_c != nullptr) MoveState(l, direction, true, last_c, c);
  return absl::OkStatus();
}

absl::StatusOr<float*> Output(RunContext& ctx, size_t i) {
  if (!ctx.Wants(i)) return nullptr;
  ASSIGN_OR_RETURN(Value * out, ctx.Out(i));
  return out->Mutable<float>().data();
}

absl::Status Run(RunContext& ctx, int64_t gates, const std::vector<Kind>& activations, Step step,
                 const RecurrentWeights* given = nullptr) {
  ASSIGN_OR_RETURN(const Layer l, ReadLayer(ctx, gates, activations, given));
  ASSIGN_OR_RETURN(float* y, Output(ctx, 0));
  ASSIGN_OR_RETURN(float* last_h, Output(ctx, 1));
  float* last_c = nullptr;
  if (gates == 4) {
    ASSIGN_OR_RETURN(last_c, Output(ctx, 2));
  }
  const float* x = ctx.Data<float>(0).data();
  std::shared_ptr<Buffer> turned;
  const auto floats = [](int64_t count) {
    return SaturatingMul(count, static_cast<int64_t>(sizeof(float)));
  };
  if (l.batch_first) {
    ASSIGN_OR_RETURN(turned, ctx.Scratch(ctx.In(0).bytes()));
    auto* to = reinterpret_cast<float*>(turned->data());
    for (int64_t b = 0; b < l.batch; ++b) {
      for (int64_t t = 0; t < l.steps; ++t) {
        std::copy_n(x + (b * l.steps + t) * l.width, l.width, to + (t * l.batch + b) * l.width);
      }
    }
    x = to;
  }
  std::shared_ptr<Buffer> rounded;
  std::shared_ptr<Buffer> backwards;
  const float* x_backwards = x;
  if (l.rounded) {
    ASSIGN_OR_RETURN(rounded, ctx.Scratch(ctx.In(0).bytes()));
    auto* to = reinterpret_cast<float*>(rounded->data());
    const int64_t longest =
        l.lengths.empty() ? 0 : *std::max_element(l.lengths.begin(), l.lengths.end());
    RoundTo8Bits(x, longest * l.batch * l.width, l.steps * l.batch * l.width, to);
    x = to;
    if (l.reversed || l.directions == 2) {
      ASSIGN_OR_RETURN(backwards, ctx.Scratch(ctx.In(0).bytes()));
      TurnSequences(l, x, reinterpret_cast<float*>(backwards->data()));
      x_backwards = reinterpret_cast<const float*>(backwards->data());
    }
  }
  const int64_t states = SaturatingMul(l.batch, l.hidden);
  ASSIGN_OR_RETURN(const std::shared_ptr<Buffer> gate_room,
                   ctx.Scratch(floats(SaturatingMul(SaturatingMul(l.steps, gates), states))));
  ASSIGN_OR_RETURN(const std::shared_ptr<Buffer> state_room,
                   ctx.Scratch(floats(SaturatingMul(gates + 4, states))));
  for (int64_t d = 0; d < l.directions; ++d) {
    const bool from_end = l.rounded && (l.reversed || d == 1);
    RETURN_IF_ERROR(RunDirection(ctx, l, d, from_end ? x_backwards : x, step,
                                 reinterpret_cast<float*>(gate_room->data()),
                                 reinterpret_cast<float*>(state_room->data()), y, last_h, last_c));
  }
  return absl::OkStatus();
}

absl::Status Lstm(RunContext& ctx) {
  return Run(ctx, 4, {Kind::kSigmoid, Kind::kTanh, Kind::kTanh}, LstmStep);
}
absl::Status Gru(RunContext& ctx) { return Run(ctx, 3, {Kind::kSigmoid, Kind::kTanh}, GruStep); }
absl::Status Rnn(RunContext& ctx) { return Run(ctx, 1, {Kind::kTanh}, RnnStep); }

constexpr OpForward kForwards[] = {
    {"", "GRU", Gru, kComputesInFloat},
    {"", "LSTM", Lstm, kComputesInFloat},
    {"", "RNN", Rnn, kComputesInFloat},
};

}  // namespace

absl::Status RunRoundedLstm(RunContext& ctx, const RecurrentWeights& weights) {
  return Run(ctx, 4, {Kind::kSigmoid, Kind::kTanh, Kind::kTanh}, LstmStep, &weights);
}

std::span<const OpForward> RecurrentForwards() { return kForwards; }

}  // namespace lathe::engine
