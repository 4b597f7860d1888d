// Arithmetic with numpy's broadcasting: the gradient of an operand is summed over the axes along
// which it was broadcast.
#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "common/status_macros.h"
#include "worker/engine/ops/backward/backward.h"
#include "worker/engine/ops/backward/broadcast_pair.h"
#include "worker/engine/ops/forward/granularity.h"

namespace lathe::engine {
namespace {

// G_y times `factor`.
absl::Status PassSummed(GradContext& ctx, size_t i, float factor) {
  if (!ctx.Wants(i)) return absl::OkStatus();
  if (factor == 1 && ctx.Dims(i) == ctx.Out(0).dims) {
    ctx.Pass(i, 0);
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const std::span<float> out, ctx.Emit(i));
  SumToShape(ctx.Grad(0), ctx.Out(0).dims, ctx.Dims(i), out);
  if (factor != 1) {
    for (float& v : out) v *= factor;
  }
  return absl::OkStatus();
}

// Where every operand has the sum's shape, gradients pass in any layout.
absl::Status AddGrad(GradContext& ctx) {
  bool alike = true;
  for (size_t i = 0; i < ctx.input_count(); ++i) alike &= ctx.Dims(i) == ctx.Out(0).dims;
  if (!alike) RETURN_IF_ERROR(ctx.MakePlain());
  for (size_t i = 0; i < ctx.input_count(); ++i) RETURN_IF_ERROR(PassSummed(ctx, i, 1));
  return absl::OkStatus();
}

absl::Status SubGrad(GradContext& ctx) {
  RETURN_IF_ERROR(PassSummed(ctx, 0, 1));
  return PassSummed(ctx, 1, -1);
}

absl::Status MeanGrad(GradContext& ctx) {
  const float each = 1 / static_cast<float>(ctx.input_count());
  for (size_t i = 0; i < ctx.input_count(); ++i) RETURN_IF_ERROR(PassSummed(ctx, i, each));
  return absl::OkStatus();
}

absl::Status MulGrad(GradContext& ctx) {
  RETURN_IF_ERROR(EmitPairwise(ctx, 0, [](float g, float, float b) { return g * b; }));
  return EmitPairwise(ctx, 1, [](float g, float a, float) { return g * a; });
}

absl::Status DivGrad(GradContext& ctx) {
  RETURN_IF_ERROR(EmitPairwise(ctx, 0, [](float g, float, float b) { return g / b; }));
  return EmitPairwise(ctx, 1, [](float g, float a, float b) { return -g * a / (b * b); });
}

// y = a^b: G_a = G_y b a^(b - 1), 0 where b is 0; G_b = G_y y log a, 0 where a is 0 and y is not
// infinite.
absl::Status PowGrad(GradContext& ctx) {
  const Value& exponent = ctx.In(1);
  Value converted;  // of integers
  if (exponent.dtype != DType::kFloat) {
    ASSIGN_OR_RETURN(converted, ctx.NewValue(exponent.dims));
    const std::vector<float> all = ReadFloats(exponent);
    std::copy(all.begin(), all.end(), converted.Mutable<float>().data());
  }
  const float* a = ctx.X(0).data();
  const float* b = exponent.dtype == DType::kFloat ? ctx.X(1).data() : converted.As<float>().data();
  if (exponent.size() == 1 && b[0] == 2) {
    RETURN_IF_ERROR(EmitPairwise(ctx, 0, a, b, [](float g, float x, float) { return 2 * g * x; }));
  } else {
    RETURN_IF_ERROR(EmitPairwise(ctx, 0, a, b, [](float g, float x, float e) {
      return e == 0 ? 0.0F : g * e * std::pow(x, e - 1);
    }));
  }
  return EmitPairwise(ctx, 1, a, b, [](float g, float x, float e) {
    return x == 0 && e >= 0 ? 0.0F : g * std::pow(x, e) * std::log(x);
  });
}

// The whole gradient goes to the extreme operand; of equal ones to the first.
absl::Status ExtremeGrad(GradContext& ctx, bool largest) {
  constexpr size_t kMost = 32;  // that the tape keeps
  const size_t operands = ctx.input_count();
  if (operands > kMost) return ctx.Unsupported("more than 32 operands");
  const Shape& to = ctx.Out(0).dims;
  const int64_t count = ctx.Out(0).size();
  ASSIGN_OR_RETURN(Value best, ctx.NewValue(to));
  ASSIGN_OR_RETURN(const std::shared_ptr<Buffer> held, ctx.Scratch(count));
  float* top = best.Mutable<float>().data();
  auto* winner = reinterpret_cast<uint8_t*>(held->data());
  for (size_t i = 0; i < operands; ++i) {
    const auto walk = BroadcastWalk<1>::Make(to, {&ctx.Dims(i)});
    if (!walk) return ctx.Error("the shapes do not broadcast");
    const float* x = ctx.X(i).data();
    const int64_t step = walk->step(0);
    walk->ForEachRun([&](int64_t at, const auto& from) {
      for (int64_t k = 0; k < walk->run(); ++k) {
        const float v = x[from[0] + k * step];
        const bool better = i == 0 || (largest ? v > top[at + k] : v < top[at + k]);
        top[at + k] = better ? v : top[at + k];
        winner[at + k] = better ? static_cast<uint8_t>(i) : winner[at + k];
      }
    });
  }
  const float* g = ctx.Grad(0).data();
  for (size_t i = 0; i < operands; ++i) {
    RETURN_IF_ERROR(EmitSummed(ctx, i, [&](float* out) {
      for (int64_t k = 0; k < count; ++k) out[k] = winner[k] == i ? g[k] : 0.0F;
      return absl::OkStatus();
    }));
  }
  return absl::OkStatus();
}

absl::Status MaxGrad(GradContext& ctx) { return ExtremeGrad(ctx, true); }
absl::Status MinGrad(GradContext& ctx) { return ExtremeGrad(ctx, false); }

absl::Status WhereGrad(GradContext& ctx) {
  const auto walk = BroadcastWalk<1>::Make(ctx.Out(0).dims, {&ctx.Dims(0)});
  if (!walk) return ctx.Error("the shapes do not broadcast");
  const uint8_t* condition = ctx.In(0).As<uint8_t>().data();
  const float* g = ctx.Grad(0).data();
  const int64_t step = walk->step(0);
  for (const size_t i : {size_t{1}, size_t{2}}) {
    RETURN_IF_ERROR(EmitSummed(ctx, i, [&](float* out) {
      walk->ForEachRun([&](int64_t at, const auto& from) {
        for (int64_t k = 0; k < walk->run(); ++k) {
          out[at + k] = (condition[from[0] + k * step] != 0) == (i == 1) ? g[at + k] : 0.0F;
        }
      });
      return absl::OkStatus();
    }));
  }
  return absl::OkStatus();
}

constexpr OpBackward kTable[] = {
    {"", "Add", AddGrad, kReadsNothing, kReadsNothing, kTakesBlockedValues},
    {"", "Div", DivGrad, 0b11},
    {"", "Max", MaxGrad, kReadsAll},
    {"", "Mean", MeanGrad},
    {"", "Min", MinGrad, kReadsAll},
    {"", "Mul", MulGrad, 0b11},
    {"", "Pow", PowGrad, 0b11},
    {"", "Sub", SubGrad},
    {"", "Sum", AddGrad, kReadsNothing, kReadsNothing, kTakesBlockedValues},
    {"", "Where", WhereGrad},
};

}  // namespace

std::span<const OpBackward> ArithmeticBackwards() { return kTable; }

}  // namespace lathe::engine
