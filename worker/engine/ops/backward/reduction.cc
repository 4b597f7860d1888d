// Reduce*: the gradient of an output goes to all elements that made it, each times its own factor.
// Of extremes the whole gradient goes to one element: of equal ones the first.
#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "common/status_macros.h"
#include "worker/engine/ops/backward/backward.h"
#include "worker/engine/ops/forward/elementwise.h"
#include "worker/engine/ops/forward/reduced_axes.h"

namespace lathe::engine {
namespace {

// Input 0 together with output 0, seen with extents of 1 for the axes that were reduced.
using ReducedWalk = BroadcastWalk<1>;

struct Reduced {
  ReducedWalk walk;
  int64_t each = 1;  // elements that made one output
};

absl::StatusOr<Reduced> ReadReduced(GradContext& ctx) {
  ASSIGN_OR_RETURN(const std::vector<bool> is_reduced, ReducedAxes(ctx));
  Shape kept = ctx.Dims(0);
  int64_t each = 1;
  for (size_t i = 0; i < kept.size(); ++i) {
    if (!is_reduced[i]) continue;
    each *= kept[i];
    kept[i] = 1;
  }
  const std::optional<ReducedWalk> walk = ReducedWalk::Make(ctx.Dims(0), {&kept});
  if (!walk) return ctx.Error("the axes do not fit");
  return Reduced{*walk, each};
}

// Calls fn(begin, at, step, count) for runs of input 0: elements begin, begin + 1, ... made the
// outputs at, at + step, ...; step is 0 or 1.
template <typename Fn>
void ForEachRun(const Reduced& reduced, Fn fn) {
  reduced.walk.ForEachRun([&](int64_t begin, const auto& from) {
    fn(begin, from[0], reduced.walk.step(0), reduced.walk.run());
  });
}

// write(g, begin, at, step, count, each, out) writes the gradients of a run as above: g is the
// gradient of its first output, `each` how many elements made an output.
template <typename Fn>
absl::Status EmitReduced(GradContext& ctx, Fn write) {
  if (!ctx.Wants(0)) return absl::OkStatus();
  ASSIGN_OR_RETURN(const Reduced reduced, ReadReduced(ctx));
  ASSIGN_OR_RETURN(const std::span<float> out, ctx.Emit(0));
  const float* g = ctx.Grad(0).data();
  const auto each = static_cast<float>(reduced.each);
  ForEachRun(reduced, [&](int64_t begin, int64_t at, int64_t step, int64_t count) {
    write(g + at, begin, at, step, count, each, out.data() + begin);
  });
  return absl::OkStatus();
}

// out[k] = fn(g of its output, x[k], y of its output); a value that is not read counts as 0.
template <typename Fn>
absl::Status EmitEach(GradContext& ctx, Fn fn) {
  const float* x = ctx.X(0).data();
  const float* y = ctx.Y(0).data();
  return EmitReduced(ctx, [&](const float* g, int64_t begin, int64_t at, int64_t step,
                              int64_t count, float, float* out) {
    if (step == 0) {
      const float dy = g[0];
      const float result = y == nullptr ? 0 : y[at];
      for (int64_t k = 0; k < count; ++k) out[k] = fn(dy, x[begin + k], result);
      return;
    }
    for (int64_t k = 0; k < count; ++k) {
      out[k] = fn(g[k], x[begin + k], y == nullptr ? 0.0F : y[at + k]);
    }
  });
}

// G_y, or G_y over the number of elements, spread.
absl::Status SpreadGrad(GradContext& ctx, bool mean) {
  return EmitReduced(ctx, [&](const float* g, int64_t, int64_t, int64_t step, int64_t count,
                              float each, float* out) {
    const float factor = mean ? 1 / each : 1;
    if (step == 0) {
      std::fill_n(out, count, g[0] * factor);
    } else {
      for (int64_t k = 0; k < count; ++k) out[k] = g[k] * factor;
    }
  });
}

absl::Status SumGrad(GradContext& ctx) { return SpreadGrad(ctx, false); }
absl::Status MeanGrad(GradContext& ctx) { return SpreadGrad(ctx, true); }

absl::Status L1Grad(GradContext& ctx) {
  return EmitEach(ctx, [](float g, float x, float) { return x > 0 ? g : x < 0 ? -g : 0.0F; });
}

// 0 where the norm is.
absl::Status L2Grad(GradContext& ctx) {
  return EmitEach(ctx, [](float g, float x, float y) { return y == 0 ? 0.0F : g * x / y; });
}

absl::Status SumSquareGrad(GradContext& ctx) {
  return EmitEach(ctx, [](float g, float x, float) { return 2 * g * x; });
}

// y = log s, so that 1 / s = e^-y.
absl::Status LogSumGrad(GradContext& ctx) {
  return EmitReduced(ctx, [y = ctx.Y(0).data()](const float* g, int64_t, int64_t at, int64_t step,
                                                int64_t count, float, float* out) {
    for (int64_t k = 0; k < count; ++k) out[k] = g[k * step] * std::exp(-y[at + k * step]);
  });
}

absl::Status LogSumExpGrad(GradContext& ctx) {
  return EmitEach(ctx, [](float g, float x, float y) { return g * std::exp(x - y); });
}

absl::Status ExtremeGrad(GradContext& ctx) {
  if (!ctx.Wants(0)) return absl::OkStatus();
  ASSIGN_OR_RETURN(const Reduced reduced, ReadReduced(ctx));
  ASSIGN_OR_RETURN(const std::span<float> out, ctx.Emit(0));
  const int64_t outputs = ctx.Out(0).size();
  ASSIGN_OR_RETURN(const std::shared_ptr<Buffer> held, ctx.Scratch(outputs));
  auto* found = reinterpret_cast<uint8_t*>(held->data());
  std::fill_n(found, outputs, uint8_t{0});
  const float* g = ctx.Grad(0).data();
  const float* x = ctx.X(0).data();
  const float* y = ctx.Y(0).data();
  ForEachRun(reduced, [&](int64_t begin, int64_t at, int64_t step, int64_t count) {
    for (int64_t k = 0; k < count; ++k) {
      const int64_t o = at + k * step;
      const bool takes = found[o] == 0 && x[begin + k] == y[o];
      found[o] |= static_cast<uint8_t>(takes);
      out[begin + k] = takes ? g[o] : 0.0F;
    }
  });
  return absl::OkStatus();
}

// G_y times the product of the others. One zero among them makes all products but its own zero, two
// make all.
absl::Status ProdGrad(GradContext& ctx) {
  if (!ctx.Wants(0)) return absl::OkStatus();
  ASSIGN_OR_RETURN(const Reduced reduced, ReadReduced(ctx));
  ASSIGN_OR_RETURN(const std::span<float> out, ctx.Emit(0));
  const auto outputs = static_cast<size_t>(ctx.Out(0).size());
  std::vector<double> product(outputs, 1.0);  // of what is not zero
  std::vector<int64_t> zeros(outputs, 0);
  const float* g = ctx.Grad(0).data();
  const float* x = ctx.X(0).data();
  ForEachRun(reduced, [&](int64_t begin, int64_t at, int64_t step, int64_t count) {
    for (int64_t k = 0; k < count; ++k) {
      const auto o = static_cast<size_t>(at + k * step);
      const float v = x[begin + k];
      zeros[o] += v == 0 ? 1 : 0;
      product[o] *= v == 0 ? 1.0 : static_cast<double>(v);
    }
  });
  ForEachRun(reduced, [&](int64_t begin, int64_t at, int64_t step, int64_t count) {
    for (int64_t k = 0; k < count; ++k) {
      const auto o = static_cast<size_t>(at + k * step);
      const float v = x[begin + k];
      const double others = zeros[o] == 0             ? product[o] / static_cast<double>(v)
                            : zeros[o] == 1 && v == 0 ? product[o]
                                                      : 0;
      out[begin + k] = static_cast<float>(static_cast<double>(g[o]) * others);
    }
  });
  return absl::OkStatus();
}

constexpr OpBackward kTable[] = {
    {"", "ReduceL1", L1Grad, 1},
    {"", "ReduceL2", L2Grad, 1, 1},
    {"", "ReduceLogSum", LogSumGrad, kReadsNothing, 1},
    {"", "ReduceLogSumExp", LogSumExpGrad, 1, 1},
    {"", "ReduceMax", ExtremeGrad, 1, 1},
    {"", "ReduceMean", MeanGrad},
    {"", "ReduceMin", ExtremeGrad, 1, 1},
    {"", "ReduceProd", ProdGrad, 1},
    {"", "ReduceSum", SumGrad},
    {"", "ReduceSumSquare", SumSquareGrad, 1},
};

}  // namespace

std::span<const OpBackward> ReductionBackwards() { return kTable; }

}  // namespace lathe::engine
