#include "worker/engine/ops/backward/recurrent_pass.h"

#include <algorithm>

#include "common/status_macros.h"
#include "worker/engine/ops/op_context.h"

namespace lathe::engine {
namespace {

// c [m, n] (+)= op(a) op(b) + bias.
struct Product {
  bool trans_a = false;
  bool trans_b = false;
  int64_t m = 0;
  int64_t n = 0;
  int64_t k = 0;
  bool accumulate = true;
  const float* bias = nullptr;
};

absl::Status Run(GemmKernel& gemm, const Product& p, const float* a, const float* b, float* c) {
  if (p.m == 0 || p.n == 0) return absl::OkStatus();
  if (p.k == 0 && p.accumulate) return absl::OkStatus();
  GemmArgs args;
  args.trans_a = p.trans_a;
  args.trans_b = p.trans_b;
  args.m = p.m;
  args.n = p.n;
  args.k = p.k;
  args.a = a;
  args.b = b;
  args.bias = p.bias;
  args.accumulate = p.accumulate;
  args.c = c;
  return gemm.Run(args);
}

}  // namespace

RecurrentPass::RecurrentPass(const RecurrentLayer& the_layer, GradContext& the_ctx,
                             GemmKernel& the_gemm, int64_t the_direction,
                             const std::vector<RecurrentGroup>& the_groups)
    : layer(the_layer), ctx(the_ctx), gemm(the_gemm), direction(the_direction), groups(the_groups) {
  couple = ctx.node().IntAttribute("input_forget", 0) != 0;
  linear = ctx.node().IntAttribute("linear_before_reset", 0) != 0;
  knows_h = ctx.Out(0).data != nullptr;
}

absl::StatusOr<float*> RecurrentPass::Take(int64_t floats) {
  ASSIGN_OR_RETURN(std::shared_ptr<Buffer> buffer,
                   ctx.Scratch(SaturatingMul(floats, static_cast<int64_t>(sizeof(float)))));
  held_.push_back(std::move(buffer));
  return reinterpret_cast<float*>(held_.back()->data());
}

absl::Status RecurrentPass::TakeMemory() {
  const RecurrentLayer& l = layer;
  const int64_t state = SaturatingMul(l.batch, l.hidden);
  const int64_t states = SaturatingMul(l.steps + 1, state);
  for (RecurrentGroup& group : groups) {
    group.step_size = SaturatingMul(group.count, state);
    ASSIGN_OR_RETURN(group.sums, Take(SaturatingMul(l.steps, group.step_size)));
  }
  ASSIGN_OR_RETURN(h, Take(states));
  if (l.gates == 4) {
    ASSIGN_OR_RETURN(c, Take(states));
    ASSIGN_OR_RETURN(gc, Take(state));
    peephole_sums.assign(static_cast<size_t>(3 * l.hidden), 0.0);
  }
  if (l.gates == 3) {
    ASSIGN_OR_RETURN(extra, Take(states));
  }
  ASSIGN_OR_RETURN(gh, Take(state));
  ASSIGN_OR_RETURN(room, Take(SaturatingMul(l.batch + 6, l.hidden)));
  return absl::OkStatus();
}

void RecurrentPass::ReadState(const float* whole, float* part) const {
  for (int64_t b = 0; b < layer.batch; ++b) {
    const float* from = whole + layer.StateRow(direction, b) * layer.hidden;
    std::copy_n(from, layer.hidden, part + b * layer.hidden);
  }
}

// h of all steps from Y, where a row past its length keeps what it had.
void RecurrentPass::ReadOutputs() {
  const int64_t n = layer.hidden;
  const float* y = ctx.Y(0).data();
  for (int64_t s = 0; s < layer.steps; ++s) {
    for (int64_t b = 0; b < layer.batch; ++b) {
      const float* from =
          IsLive(s, b) ? y + layer.OutputRow(Time(s), direction, b) * n : H(s) + b * n;
      std::copy_n(from, n, H(s + 1) + b * n);
    }
  }
}

absl::Status RecurrentPass::Begin() {
  const RecurrentLayer& l = layer;
  RETURN_IF_ERROR(TakeMemory());
  x = ctx.X(0).data();
  if (l.batch_first || l.Backwards(direction)) {
    ASSIGN_OR_RETURN(float* turned, Take(ctx.In(0).size()));
    for (int64_t s = 0; s < l.steps; ++s) {
      for (int64_t b = 0; b < l.batch; ++b) {
        const int64_t row = l.batch_first ? b * l.steps + Time(s) : Time(s) * l.batch + b;
        std::copy_n(x + row * l.width, l.width, turned + (s * l.batch + b) * l.width);
      }
    }
    x = turned;
  }
  std::fill_n(h, l.batch * l.hidden, 0.0f);
  if (ctx.Has(5)) ReadState(ctx.X(5).data(), h);
  if (c != nullptr) std::fill_n(c, l.batch * l.hidden, 0.0f);
  if (c != nullptr && ctx.Has(6)) ReadState(ctx.X(6).data(), c);
  if (knows_h) ReadOutputs();
  const int64_t n = l.gates * l.hidden;
  const float* w = Input(1, n * l.width);
  const float* bias = Input(3, 2 * n);
  for (size_t g = 0; g < groups.size(); ++g) {
    const RecurrentGroup& group = groups[g];
    const int64_t wide = group.count * l.hidden;
    const int64_t first = group.first * l.hidden;
    std::vector<float> joint;
    if (bias != nullptr) {
      joint.assign(bias + first, bias + first + wide);
      // That of a linear GRU's last gate is reset with the state's part.
      const float* recurrent = bias + n + first;
      for (int64_t i = 0; i < wide && !(linear && g == 1); ++i) joint[i] += recurrent[i];
    }
    Product p;
    p.trans_b = true;
    p.m = l.steps * l.batch;
    p.n = wide;
    p.k = l.width;
    p.accumulate = false;
    p.bias = joint.empty() ? nullptr : joint.data();
    RETURN_IF_ERROR(Run(gemm, p, x, w + first * l.width, group.sums));
    if (!knows_h || g == 1) continue;
    p.k = l.hidden;
    p.accumulate = true;
    p.bias = nullptr;
    const float* r = Input(2, n * l.hidden) + first * l.hidden;
    RETURN_IF_ERROR(Run(gemm, p, h, r, group.sums));
  }
  return absl::OkStatus();
}

absl::Status RecurrentPass::TimesR(const float* state, size_t g, float* out) const {
  Product p;
  p.trans_b = true;
  p.m = layer.batch;
  p.n = groups[g].count * layer.hidden;
  p.k = layer.hidden;
  const float* r = Input(2, layer.gates * layer.hidden * layer.hidden);
  return Run(gemm, p, state, r + groups[g].first * layer.hidden * layer.hidden, out);
}

absl::Status RecurrentPass::TimesRBack(const float* sums, size_t g, float* out) const {
  Product p;
  p.m = layer.batch;
  p.n = layer.hidden;
  p.k = groups[g].count * layer.hidden;
  const float* r = Input(2, layer.gates * layer.hidden * layer.hidden);
  return Run(gemm, p, sums, r + groups[g].first * layer.hidden * layer.hidden, out);
}

void RecurrentPass::BeginBackward() {
  const int64_t state = layer.batch * layer.hidden;
  std::fill_n(gh, state, 0.0f);
  if (ctx.HasGrad(1)) ReadState(ctx.Grad(1).data(), gh);
  if (gc == nullptr) return;
  std::fill_n(gc, state, 0.0f);
  if (ctx.HasGrad(2)) ReadState(ctx.Grad(2).data(), gc);
}

void RecurrentPass::AddOutputGrad(int64_t s) {
  if (!ctx.HasGrad(0)) return;
  const int64_t n = layer.hidden;
  const float* g = ctx.Grad(0).data();
  for (int64_t b = 0; b < layer.batch; ++b) {
    if (!IsLive(s, b)) continue;  // Y is zero there
    const float* from = g + layer.OutputRow(Time(s), direction, b) * n;
    for (int64_t k = 0; k < n; ++k) gh[b * n + k] += from[k];
  }
}

absl::Status RecurrentPass::FinishInput() {
  const RecurrentLayer& l = layer;
  float* gx = ctx.Emitted(0).data();
  const bool turned = l.batch_first || l.Backwards(direction);
  float* to = gx;
  if (turned) {
    ASSIGN_OR_RETURN(to, Take(ctx.In(0).size()));
    std::fill_n(to, ctx.In(0).size(), 0.0f);
  }
  Product p;
  p.m = l.steps * l.batch;
  p.n = l.width;
  const float* w = Input(1, l.gates * l.hidden * l.width);
  for (const RecurrentGroup& group : groups) {
    p.k = group.count * l.hidden;
    RETURN_IF_ERROR(Run(gemm, p, group.sums, w + group.first * l.hidden * l.width, to));
  }
  for (int64_t s = 0; turned && s < l.steps; ++s) {
    for (int64_t b = 0; b < l.batch; ++b) {
      const int64_t row = l.batch_first ? b * l.steps + Time(s) : Time(s) * l.batch + b;
      const float* from = to + (s * l.batch + b) * l.width;
      for (int64_t k = 0; k < l.width; ++k) gx[row * l.width + k] += from[k];
    }
  }
  return absl::OkStatus();
}

void RecurrentPass::FinishBias(const RecurrentGroup& group, size_t g, float* out) const {
  const int64_t rows = layer.steps * layer.batch;
  const int64_t wide = group.count * layer.hidden;
  const int64_t first = group.first * layer.hidden;
  const auto sum = [&](const float* from, float* to) {
    SumToShape({from, static_cast<size_t>(rows * wide)}, {rows, wide}, {wide},
               {to, static_cast<size_t>(wide)});
  };
  float* recurrent = out + layer.gates * layer.hidden + first;
  sum(group.sums, out + first);
  sum(linear && g == 1 ? extra : group.sums, recurrent);
}

absl::Status RecurrentPass::Finish() {
  const RecurrentLayer& l = layer;
  const int64_t n = l.gates * l.hidden;
  if (ctx.Wants(0)) RETURN_IF_ERROR(FinishInput());
  for (size_t g = 0; g < groups.size(); ++g) {
    const RecurrentGroup& group = groups[g];
    const int64_t first = group.first * l.hidden;
    Product p;
    p.trans_a = true;
    p.m = group.count * l.hidden;
    p.k = l.steps * l.batch;
    if (ctx.Wants(1)) {
      p.n = l.width;
      float* gw = ctx.Emitted(1).data() + (direction * n + first) * l.width;
      RETURN_IF_ERROR(Run(gemm, p, group.sums, x, gw));
    }
    if (ctx.Wants(2)) {
      p.n = l.hidden;
      float* gr = ctx.Emitted(2).data() + (direction * n + first) * l.hidden;
      // A GRU's last gate sees r h, or sees h by way of what is reset.
      const float* sums = g == 1 && linear ? extra : group.sums;
      RETURN_IF_ERROR(Run(gemm, p, sums, g == 1 && !linear ? extra : h, gr));
    }
    if (ctx.Wants(3)) FinishBias(group, g, ctx.Emitted(3).data() + direction * 2 * n);
  }
  const auto write_state = [&](size_t input, const float* part) {
    if (!ctx.Wants(input)) return;
    for (int64_t b = 0; b < l.batch; ++b) {
      std::copy_n(part + b * l.hidden, l.hidden,
                  ctx.Emitted(input).data() + l.StateRow(direction, b) * l.hidden);
    }
  };
  write_state(5, gh);
  if (gc == nullptr) return absl::OkStatus();
  write_state(6, gc);
  if (!ctx.Wants(7)) return absl::OkStatus();
  float* peephole = ctx.Emitted(7).data() + direction * 3 * l.hidden;
  for (size_t i = 0; i < peephole_sums.size(); ++i) {
    peephole[i] = static_cast<float>(peephole_sums[i]);
  }
  return absl::OkStatus();
}

}  // namespace lathe::engine
