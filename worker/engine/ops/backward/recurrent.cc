// LSTM, GRU, RNN: back-propagation through time (Werbos 1990). The gates are computed again from x
// and the states, by one product over all steps where Y holds the states; then, from the last step
// to the first, G_h (and G_c) become the gradients of the gates' sums, which take the gates' place.
// The gradients of the weights are products over all steps. Symbols as in ops/forward/recurrent.cc.
//
//   LSTM: G_o = G_h h(C); G_C += G_h o h'; G_i = G_C g(c); G_f = G_C C_before; G_c = G_C i
//   GRU:  G_n = G_h (1 - z); G_z = G_h (h_before - n); G_r = G_(r h) h_before, or G_n q with
//         linear_before_reset, where n = g(x Wn' + r q)
#include <algorithm>
#include <utility>
#include <vector>

#include "common/status_macros.h"
#include "worker/engine/kernels/backend.h"
#include "worker/engine/ops/backward/backward.h"
#include "worker/engine/ops/backward/recurrent_pass.h"
#include "worker/engine/ops/forward/recurrent_layer.h"

namespace lathe::engine {
namespace {

using Kind = RecurrentActivation::Kind;

struct RecurrentGradState : NodeState {
  std::unique_ptr<GemmKernel> kernel;
};

absl::Status LstmForward(RecurrentPass& p, int64_t s) {
  const int64_t n = p.layer.hidden;
  const float* peephole = p.Input(7, 3 * n);
  if (!p.knows_h) RETURN_IF_ERROR(p.TimesR(p.H(s), 0, p.groups[0].At(s)));
  for (int64_t b = 0; b < p.layer.batch; ++b) {
    const float* before = p.C(s) + b * n;
    float* c = p.C(s + 1) + b * n;
    float* h = p.H(s + 1) + b * n;
    if (!p.IsLive(s, b)) {
      std::copy_n(before, n, c);
      std::copy_n(p.H(s) + b * n, n, h);
      continue;
    }
    float* in = p.groups[0].At(s) + b * 4 * n;
    float* out = in + n;
    float* forget = in + 2 * n;
    float* fresh = in + 3 * n;
    for (int64_t k = 0; peephole != nullptr && k < n; ++k) {
      in[k] += peephole[k] * before[k];
      forget[k] += peephole[2 * n + k] * before[k];
    }
    p.f(0).Apply(0, n, in);
    p.f(0).Apply(0, n, forget);
    p.f(1).Apply(0, n, fresh);
    for (int64_t k = 0; k < n; ++k) {
      c[k] = (p.couple ? 1.0f - in[k] : forget[k]) * before[k] + in[k] * fresh[k];
      if (peephole != nullptr) out[k] += peephole[n + k] * c[k];
    }
    p.f(0).Apply(0, n, out);
    if (p.knows_h) continue;
    std::copy_n(c, n, h);
    p.f(2).Apply(0, n, h);
    for (int64_t k = 0; k < n; ++k) h[k] *= out[k];
  }
  return absl::OkStatus();
}

absl::Status LstmBackward(RecurrentPass& p, int64_t s) {
  const int64_t n = p.layer.hidden;
  const float* peephole = p.Input(7, 3 * n);
  float* g_in = p.room;
  float* g_out = p.room + n;
  float* g_forget = p.room + 2 * n;
  float* g_fresh = p.room + 3 * n;
  float* squashed = p.room + 4 * n;
  float* through = p.room + 5 * n;
  for (int64_t b = 0; b < p.layer.batch; ++b) {
    float* gates = p.groups[0].At(s) + b * 4 * n;
    if (!p.IsLive(s, b)) {
      std::fill_n(gates, 4 * n, 0.0f);
      continue;
    }
    const float* in = gates;
    const float* out = gates + n;
    const float* forget = gates + 2 * n;
    const float* fresh = gates + 3 * n;
    const float* before = p.C(s) + b * n;
    const float* c = p.C(s + 1) + b * n;
    float* gh = p.gh + b * n;
    float* gc = p.gc + b * n;
    std::copy_n(c, n, squashed);
    p.f(2).Apply(0, n, squashed);
    for (int64_t k = 0; k < n; ++k) {
      g_out[k] = gh[k] * squashed[k];
      through[k] = gh[k] * out[k];
    }
    p.f(2).Differentiate(n, squashed, through);
    p.f(0).Differentiate(n, out, g_out);
    for (int64_t k = 0; k < n; ++k) {
      gc[k] += through[k];
      if (peephole != nullptr) gc[k] += g_out[k] * peephole[n + k];
    }
    for (int64_t k = 0; k < n; ++k) {
      g_in[k] = gc[k] * (p.couple ? fresh[k] - before[k] : fresh[k]);
      g_forget[k] = p.couple ? 0.0f : gc[k] * before[k];
      g_fresh[k] = gc[k] * in[k];
      gc[k] *= p.couple ? 1.0f - in[k] : forget[k];
    }
    p.f(0).Differentiate(n, in, g_in);
    p.f(0).Differentiate(n, forget, g_forget);
    p.f(1).Differentiate(n, fresh, g_fresh);
    for (int64_t k = 0; peephole != nullptr && k < n; ++k) {
      gc[k] += g_in[k] * peephole[k] + g_forget[k] * peephole[2 * n + k];
      p.peephole_sums[k] += static_cast<double>(g_in[k]) * before[k];
      p.peephole_sums[n + k] += static_cast<double>(g_out[k]) * c[k];
      p.peephole_sums[2 * n + k] += static_cast<double>(g_forget[k]) * before[k];
    }
    std::copy_n(p.room, 4 * n, gates);
    std::fill_n(gh, n, 0.0f);
  }
  return p.TimesRBack(p.groups[0].At(s), 0, p.gh);
}

absl::Status GruForward(RecurrentPass& p, int64_t s) {
  const int64_t n = p.layer.hidden;
  const int64_t batch = p.layer.batch;
  float* zr = p.groups[0].At(s);
  float* fresh = p.groups[1].At(s);
  float* extra = p.Extra(s);
  if (!p.knows_h) RETURN_IF_ERROR(p.TimesR(p.H(s), 0, zr));
  p.f(0).Apply(0, batch * 2 * n, zr);
  if (p.linear) {
    const float* bias = p.Input(3, 6 * n);
    for (int64_t b = 0; b < batch; ++b) {
      for (int64_t k = 0; k < n; ++k) extra[b * n + k] = bias == nullptr ? 0 : bias[5 * n + k];
    }
    RETURN_IF_ERROR(p.TimesR(p.H(s), 1, extra));
    for (int64_t b = 0; b < batch; ++b) {
      const float* r = zr + b * 2 * n + n;
      for (int64_t k = 0; k < n; ++k) fresh[b * n + k] += r[k] * extra[b * n + k];
    }
  } else {
    for (int64_t b = 0; b < batch; ++b) {
      const float* r = zr + b * 2 * n + n;
      for (int64_t k = 0; k < n; ++k) extra[b * n + k] = r[k] * p.H(s)[b * n + k];
    }
    RETURN_IF_ERROR(p.TimesR(extra, 1, fresh));
  }
  p.f(1).Apply(0, batch * n, fresh);
  for (int64_t b = 0; b < batch; ++b) {
    const float* z = zr + b * 2 * n;
    const float* before = p.H(s) + b * n;
    float* h = p.H(s + 1) + b * n;
    if (!p.IsLive(s, b)) {
      std::copy_n(before, n, h);
    } else if (!p.knows_h) {
      for (int64_t k = 0; k < n; ++k) h[k] = (1.0f - z[k]) * fresh[b * n + k] + z[k] * before[k];
    }
  }
  return absl::OkStatus();
}

absl::Status GruBackward(RecurrentPass& p, int64_t s) {
  const int64_t n = p.layer.hidden;
  const int64_t batch = p.layer.batch;
  float* g_z = p.room;
  float* g_fresh = p.room + n;
  float* g_r = p.room + 2 * n;
  float* reset = p.room + 3 * n;  // [batch, hidden]: G of r h
  // First z and n, whose gradients take their places; r is needed a little longer.
  for (int64_t b = 0; b < batch; ++b) {
    float* z = p.groups[0].At(s) + b * 2 * n;
    float* fresh = p.groups[1].At(s) + b * n;
    float* gh = p.gh + b * n;
    const float* before = p.H(s) + b * n;
    if (!p.IsLive(s, b)) {
      std::fill_n(z, n, 0.0f);
      std::fill_n(fresh, n, 0.0f);
      continue;
    }
    for (int64_t k = 0; k < n; ++k) {
      g_z[k] = gh[k] * (before[k] - fresh[k]);
      g_fresh[k] = gh[k] * (1.0f - z[k]);
      gh[k] *= z[k];
    }
    p.f(0).Differentiate(n, z, g_z);
    p.f(1).Differentiate(n, fresh, g_fresh);
    std::copy_n(g_z, n, z);
    std::copy_n(g_fresh, n, fresh);
  }
  if (!p.linear) {
    std::fill_n(reset, batch * n, 0.0f);
    RETURN_IF_ERROR(p.TimesRBack(p.groups[1].At(s), 1, reset));
  }
  for (int64_t b = 0; b < batch; ++b) {
    float* r = p.groups[0].At(s) + b * 2 * n + n;
    float* extra = p.Extra(s) + b * n;
    const float* fresh = p.groups[1].At(s) + b * n;
    const float* before = p.H(s) + b * n;
    float* gh = p.gh + b * n;
    if (!p.IsLive(s, b)) {
      std::fill_n(r, n, 0.0f);
      if (p.linear) std::fill_n(extra, n, 0.0f);
      continue;
    }
    for (int64_t k = 0; k < n; ++k) {
      if (p.linear) {
        g_r[k] = fresh[k] * extra[k];
        extra[k] = fresh[k] * r[k];
      } else {
        g_r[k] = reset[b * n + k] * before[k];
        gh[k] += reset[b * n + k] * r[k];
      }
    }
    p.f(0).Differentiate(n, r, g_r);
    std::copy_n(g_r, n, r);
  }
  if (p.linear) RETURN_IF_ERROR(p.TimesRBack(p.Extra(s), 1, p.gh));
  return p.TimesRBack(p.groups[0].At(s), 0, p.gh);
}

absl::Status RnnForward(RecurrentPass& p, int64_t s) {
  const int64_t n = p.layer.hidden;
  if (!p.knows_h) RETURN_IF_ERROR(p.TimesR(p.H(s), 0, p.groups[0].At(s)));
  p.f(0).Apply(0, p.layer.batch * n, p.groups[0].At(s));
  for (int64_t b = 0; b < p.layer.batch; ++b) {
    const float* h = p.IsLive(s, b) ? p.groups[0].At(s) : p.H(s);
    std::copy_n(h + b * n, n, p.H(s + 1) + b * n);
  }
  return absl::OkStatus();
}

absl::Status RnnBackward(RecurrentPass& p, int64_t s) {
  const int64_t n = p.layer.hidden;
  for (int64_t b = 0; b < p.layer.batch; ++b) {
    float* gates = p.groups[0].At(s) + b * n;
    float* gh = p.gh + b * n;
    if (!p.IsLive(s, b)) {
      std::fill_n(gates, n, 0.0f);
      continue;
    }
    p.f(0).Differentiate(n, gates, gh);
    std::copy_n(gh, n, gates);
    std::fill_n(gh, n, 0.0f);
  }
  return p.TimesRBack(p.groups[0].At(s), 0, p.gh);
}

struct Cell {
  int64_t gates;
  std::vector<Kind> activations;
  std::vector<RecurrentGroup> groups;
  absl::Status (*forward)(RecurrentPass& pass, int64_t step);
  absl::Status (*backward)(RecurrentPass& pass, int64_t step);
};

absl::Status RunGrad(GradContext& ctx, const Cell& cell) {
  ASSIGN_OR_RETURN(const RecurrentLayer l, ReadRecurrentLayer(ctx, cell.gates, cell.activations));
  if (l.clip > 0) return ctx.Unsupported("'clip'");
  for (const RecurrentActivation& activation : l.activations) {
    if (!activation.Invertible()) return ctx.Unsupported("an activation of negative slope");
  }
  auto& state = ctx.State<RecurrentGradState>();
  if (state.kernel == nullptr) state.kernel = ctx.backend().MakeGemm();
  for (const size_t i : {0, 1, 2, 3, 5, 6, 7}) {
    if (!ctx.Wants(i)) continue;
    RETURN_IF_ERROR(ctx.EmitZeros(i).status());
  }
  for (int64_t d = 0; d < l.directions; ++d) {
    RecurrentPass pass(l, ctx, *state.kernel, d, cell.groups);
    RETURN_IF_ERROR(pass.Begin());
    for (int64_t s = 0; s < l.steps; ++s) RETURN_IF_ERROR(cell.forward(pass, s));
    pass.BeginBackward();
    for (int64_t s = l.steps; s-- > 0;) {
      pass.AddOutputGrad(s);
      RETURN_IF_ERROR(cell.backward(pass, s));
    }
    RETURN_IF_ERROR(pass.Finish());
  }
  return absl::OkStatus();
}

absl::Status LstmGrad(GradContext& ctx) {
  return RunGrad(
      ctx, {4, {Kind::kSigmoid, Kind::kTanh, Kind::kTanh}, {{0, 4}}, LstmForward, LstmBackward});
}
absl::Status GruGrad(GradContext& ctx) {
  return RunGrad(ctx,
                 {3, {Kind::kSigmoid, Kind::kTanh}, {{0, 2}, {2, 1}}, GruForward, GruBackward});
}
absl::Status RnnGrad(GradContext& ctx) {
  return RunGrad(ctx, {1, {Kind::kTanh}, {{0, 1}}, RnnForward, RnnBackward});
}

constexpr uint32_t kInputs = 0b11101111;
constexpr OpBackward kTable[] = {
    {"", "GRU", GruGrad, kInputs, 1},
    {"", "LSTM", LstmGrad, kInputs, 1},
    {"", "RNN", RnnGrad, kInputs, 1},
};

}  // namespace

std::span<const OpBackward> RecurrentBackwards() { return kTable; }

}  // namespace lathe::engine
