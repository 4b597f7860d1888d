// QuantizeLinear, DequantizeLinear, DynamicQuantizeLinear, with gradients of integers taken in code
// space: those of the real numbers that the integers stand for, rounding counting as the identity.
//
//   q = saturate(round(x / s) + z):  G_x = G_q / s and G_s = -sum(G_q x / s^2), over the elements
//       whose x / s + z lies within the type's range; the others have saturated, and give 0.
//   y = (q - z) s:                   G_q = G_y s and G_s = sum(G_y (q - z)).
//
// Of a pair of them, with one scale, that adds up to G_s = sum(G_y (round(x / s) - x / s)) within
// the range and G_y times the bound beyond: learned step size quantization (Esser et al. 2020,
// arXiv 1902.08153, eq. 3), without its scaling of the gradient, which is the optimizer's.
#include <algorithm>
#include <cmath>
#include <vector>

#include "common/status_macros.h"
#include "worker/engine/kernels/linear_rounding.h"
#include "worker/engine/kernels/small_float.h"
#include "worker/engine/ops/backward/backward.h"
#include "worker/engine/ops/forward/granularity.h"
#include "worker/engine/ops/forward/value_read.h"

namespace lathe::engine {
namespace {

// The numbers that a type's codes can be; empty for a type that nothing quantizes to.
std::optional<IntegerRange> CodeRange(DType dtype) {
  switch (dtype) {
    case DType::kInt8:
      return RangeOf<int8_t>();
    case DType::kUint8:
      return RangeOf<uint8_t>();
    case DType::kInt16:
      return RangeOf<int16_t>();
    case DType::kUint16:
      return RangeOf<uint16_t>();
    case DType::kInt4:
      return IntegerRange{-8, 7};
    case DType::kUint4:
      return IntegerRange{0, 15};
    case DType::kInt2:
      return IntegerRange{-2, 1};
    case DType::kUint2:
      return IntegerRange{0, 3};
    case DType::kFloat8E4M3FN:
      return IntegerRange{-448, 448};
    case DType::kFloat8E4M3FNUZ:
      return IntegerRange{-240, 240};
    case DType::kFloat8E5M2:
    case DType::kFloat8E5M2FNUZ:
      return IntegerRange{-57344, 57344};
    case DType::kFloat4E2M1:
      return IntegerRange{-6, 6};
    default:
      return std::nullopt;
  }
}

std::vector<float> ReadZeros(const GradContext& ctx) {
  if (ctx.Has(2)) return ReadFloats(ctx.In(2));
  return std::vector<float>(static_cast<size_t>(ctx.In(1).size()), 0.0F);
}

absl::Status EmitScales(GradContext& ctx, const std::vector<double>& sums) {
  if (!ctx.Wants(1)) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::span<float> out, ctx.Emit(1));
  for (size_t i = 0; i < out.size(); ++i) out[i] = static_cast<float>(sums[i]);
  return absl::OkStatus();
}

absl::Status QuantizeGrad(GradContext& ctx) {
  const std::optional<IntegerRange> range = CodeRange(ctx.Out(0).dtype);
  if (!range || ctx.In(0).dtype != DType::kFloat || ctx.In(1).dtype != DType::kFloat) {
    return ctx.Unsupported("these types");
  }
  ASSIGN_OR_RETURN(const Granularity granularity, ReadGranularity(ctx));
  const std::vector<float> zeros = ReadZeros(ctx);
  const float* x = ctx.X(0).data();
  const float* scales = ctx.X(1).data();
  const float* g = ctx.Grad(0).data();
  const float low = range->lo;
  const float high = range->hi;
  if (ctx.Wants(1)) {
    std::vector<double> sums(zeros.size(), 0.0);
    const auto term = [&](int64_t i, int64_t s) {
      const float v = x[i] / scales[s];
      const float at = v + zeros[s];
      return at >= low && at <= high ? static_cast<double>(-g[i] * v / scales[s]) : 0.0;
    };
    granularity.ForEach(
        [&](int64_t begin, int64_t count, int64_t s) {
          double sum = 0;
          for (int64_t i = begin; i < begin + count; ++i) sum += term(i, s);
          sums[s] += sum;
        },
        [&](int64_t begin, int64_t count, int64_t s) {
          for (int64_t i = 0; i < count; ++i) sums[s + i] += term(begin + i, s + i);
        });
    RETURN_IF_ERROR(EmitScales(ctx, sums));
  }
  if (!ctx.Wants(0)) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::span<float> out, ctx.EmitInPlace(0, 0));
  const auto passed = [=](float v, float dy, float scale, float zero) {
    const float at = v / scale + zero;
    return at >= low && at <= high ? dy / scale : 0.0F;
  };
  granularity.ForEach(
      [&](int64_t begin, int64_t count, int64_t s) {
        const float scale = scales[s];
        const float zero = zeros[s];
        for (int64_t i = begin; i < begin + count; ++i) out[i] = passed(x[i], g[i], scale, zero);
      },
      [&](int64_t begin, int64_t count, int64_t s) {
        for (int64_t i = 0; i < count; ++i) {
          out[begin + i] = passed(x[begin + i], g[begin + i], scales[s + i], zeros[s + i]);
        }
      });
  return absl::OkStatus();
}

// sums[s] += G_y (q - z), code(i) being q of element i.
template <typename Code>
void SumScales(const Granularity& granularity, const float* g, const std::vector<float>& zeros,
               std::vector<double>& sums, Code code) {
  granularity.ForEach(
      [&](int64_t begin, int64_t count, int64_t s) {
        const auto zero = static_cast<double>(zeros[s]);
        double sum = 0;
        for (int64_t i = begin; i < begin + count; ++i) {
          sum += static_cast<double>(g[i]) * (static_cast<double>(code(i)) - zero);
        }
        sums[s] += sum;
      },
      [&](int64_t begin, int64_t count, int64_t s) {
        for (int64_t i = 0; i < count; ++i) {
          const double q = static_cast<double>(code(begin + i)) - static_cast<double>(zeros[s + i]);
          sums[s + i] += static_cast<double>(g[begin + i]) * q;
        }
      });
}

absl::Status DequantizeGrad(GradContext& ctx) {
  const Value& q = ctx.In(0);
  if (ctx.In(1).dtype != DType::kFloat) return ctx.Unsupported("this type of scale");
  ASSIGN_OR_RETURN(const Granularity granularity, ReadGranularity(ctx));
  const float* scales = ctx.X(1).data();
  const float* g = ctx.Grad(0).data();
  if (ctx.Wants(1)) {
    const std::vector<float> zeros = ReadZeros(ctx);
    std::vector<double> sums(zeros.size(), 0.0);
    if (q.dtype == DType::kInt8) {
      const int8_t* codes = q.As<int8_t>().data();
      SumScales(granularity, g, zeros, sums, [=](int64_t i) { return codes[i]; });
    } else if (q.dtype == DType::kUint8) {
      const uint8_t* codes = q.As<uint8_t>().data();
      SumScales(granularity, g, zeros, sums, [=](int64_t i) { return codes[i]; });
    } else {
      SumScales(granularity, g, zeros, sums, [&](int64_t i) { return ReadNumber(q, i); });
    }
    RETURN_IF_ERROR(EmitScales(ctx, sums));
  }
  if (!ctx.Wants(0)) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::span<float> out, ctx.EmitInPlace(0, 0));
  granularity.ForEach(
      [&](int64_t begin, int64_t count, int64_t s) {
        const float scale = scales[s];
        for (int64_t i = begin; i < begin + count; ++i) out[i] = g[i] * scale;
      },
      [&](int64_t begin, int64_t count, int64_t s) {
        for (int64_t i = 0; i < count; ++i) out[begin + i] = g[begin + i] * scales[s + i];
      });
  return absl::OkStatus();
}

// The range is chosen so that nothing saturates; scale and zero point, which follow from it, count
// as constants.
absl::Status DynamicQuantizeGrad(GradContext& ctx) {
  if (!ctx.Wants(0) || !ctx.HasGrad(0)) return absl::OkStatus();
  if (!ctx.Out(1).IsTensor() || ctx.Out(1).data == nullptr) {
    return ctx.Unsupported("without its scale as an output");
  }
  const float scale = ctx.Y(1)[0];
  const float* g = ctx.Grad(0).data();
  ASSIGN_OR_RETURN(const std::span<float> out, ctx.EmitInPlace(0, 0));
  for (size_t i = 0; i < out.size(); ++i) out[i] = g[i] / scale;
  return absl::OkStatus();
}

constexpr OpBackward kTable[] = {
    {"", "DequantizeLinear", DequantizeGrad, 0b10},
    {"", "DynamicQuantizeLinear", DynamicQuantizeGrad, kReadsNothing, 0b10, kThroughIntegers},
    {"", "QuantizeLinear", QuantizeGrad, 0b11, kReadsNothing, kThroughIntegers},
    {"com.microsoft", "DequantizeLinear", DequantizeGrad, 0b10},
    {"com.microsoft", "QuantizeLinear", QuantizeGrad, 0b11, kReadsNothing, kThroughIntegers},
};

}  // namespace

std::span<const OpBackward> QuantizeBackwards() { return kTable; }

}  // namespace lathe::engine
