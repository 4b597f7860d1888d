// Functions of one element, and operators that hand their input on.
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/engine/ops/forward/elementwise.h"
#include "worker/engine/ops/forward/forward.h"
#include "worker/engine/ops/forward/map_elements.h"
#include "worker/engine/ops/forward/value_read.h"

namespace lathe::engine {
namespace {

// A functor around a function of <cmath>, which has it for float and double.
#define LATHE_MATH(name, function)        \
  struct name {                           \
    template <class T>                    \
    T operator()(T x) const {             \
      return static_cast<T>(function(x)); \
    }                                     \
  }

LATHE_MATH(AcosFn, std::acos);
LATHE_MATH(AcoshFn, std::acosh);
LATHE_MATH(AsinFn, std::asin);
LATHE_MATH(AsinhFn, std::asinh);
LATHE_MATH(AtanFn, std::atan);
LATHE_MATH(AtanhFn, std::atanh);
LATHE_MATH(CeilFn, std::ceil);
LATHE_MATH(CosFn, std::cos);
LATHE_MATH(CoshFn, std::cosh);
LATHE_MATH(FloorFn, std::floor);
LATHE_MATH(LogFn, std::log);
LATHE_MATH(RoundFn, std::nearbyint);  // to even
LATHE_MATH(SinFn, std::sin);
LATHE_MATH(SinhFn, std::sinh);
LATHE_MATH(SqrtFn, std::sqrt);
LATHE_MATH(TanFn, std::tan);

#undef LATHE_MATH

struct ExpFn {
  template <class T>
  T operator()(T x) const {
    return std::exp(x);
  }
  VectorMap Vector() const { return {MapOp::kExp}; }
};

struct ErfFn {
  template <class T>
  T operator()(T x) const {
    return static_cast<T>(std::erf(static_cast<double>(x)));
  }
  VectorMap Vector() const { return {MapOp::kErf}; }
};

struct ReciprocalFn {
  template <class T>
  T operator()(T x) const {
    return 1 / x;
  }
};

// Of the least integer that integer itself.
struct NegFn {
  template <class T>
  T operator()(T x) const {
    if constexpr (std::is_integral_v<T>) {
      return static_cast<T>(Wrapping<T>{0} - static_cast<Wrapping<T>>(x));
    } else {
      return -x;
    }
  }
};

struct AbsFn {
  template <class T>
  T operator()(T x) const {
    if constexpr (std::is_integral_v<T>) {
      return x < T(0) ? NegFn()(x) : x;
    } else {
      return std::abs(x);
    }
  }
};

struct SignFn {
  template <class T>
  T operator()(T x) const {
    if (x != x) return x;
    return static_cast<T>((x > T(0)) - (x < T(0)));
  }
};

struct BitwiseNotFn {
  template <class T>
  T operator()(T x) const {
    return static_cast<T>(~x);
  }
};

absl::Status Not(RunContext& ctx) {
  RETURN_IF_ERROR(CheckTensors(ctx, 1));
  const Value& in = ctx.In(0);
  if (in.dtype != DType::kBool) return ctx.Error("it takes bool");
  ASSIGN_OR_RETURN(Value * out, ctx.OutInPlace(0, 0, in.dtype, in.dims));
  const auto from = in.As<uint8_t>();
  const auto to = out->Mutable<uint8_t>();
  for (size_t i = 0; i < from.size(); ++i) to[i] = from[i] == 0;
  return absl::OkStatus();
}

// Output 0 of bools: test(element as a float or double), for the float types, 8-bit ones included.
template <class Test>
absl::Status TestFloats(RunContext& ctx, const Test& test) {
  RETURN_IF_ERROR(CheckTensors(ctx, 1));
  const Value& in = ctx.In(0);
  ASSIGN_OR_RETURN(Value * out, ctx.Out(0, DType::kBool, in.dims));
  const auto to = out->Mutable<uint8_t>();
  switch (in.dtype) {
    case DType::kFloat8E4M3FN:
    case DType::kFloat8E4M3FNUZ:
    case DType::kFloat8E5M2:
    case DType::kFloat8E5M2FNUZ:
      for (size_t i = 0; i < to.size(); ++i) to[i] = test(ReadNumber(in, static_cast<int64_t>(i)));
      return absl::OkStatus();
    default:
      return VisitNumber<kFloats>(ctx, in.dtype, [&](auto zero) {
        const auto from = in.As<decltype(zero)>();
        for (size_t i = 0; i < to.size(); ++i) to[i] = test(from[i]);
        return absl::OkStatus();
      });
  }
}

absl::Status IsNaN(RunContext& ctx) {
  return TestFloats(ctx, [](auto x) { return std::isnan(x); });
}

absl::Status IsInf(RunContext& ctx) {
  const bool positive = ctx.node().IntAttribute("detect_positive", 1) != 0;
  const bool negative = ctx.node().IntAttribute("detect_negative", 1) != 0;
  return TestFloats(
      ctx, [=](auto x) { return std::isinf(x) && (std::signbit(x) ? negative : positive); });
}

// Any kind of value.
absl::Status Identity(RunContext& ctx) {
  if (!ctx.Has(0)) return ctx.Error("input 0 is missing");
  ctx.Set(0, ctx.In(0));
  return absl::OkStatus();
}

// As at inference: nothing is dropped. In training mode with a ratio that drops something the
// result is chance's, which is not supported.
absl::Status Dropout(RunContext& ctx) {
  RETURN_IF_ERROR(CheckTensors(ctx, 1));
  const Value& in = ctx.In(0);
  const bool training = ctx.opset() >= 12 && ctx.Has(2) && ctx.Scalar(2, 0) != 0;
  if (training && ctx.Scalar(1, 0.5) != 0) {
    return ctx.Unsupported("training mode with a ratio other than 0");
  }
  if (ctx.Wants(1)) {
    ASSIGN_OR_RETURN(const ValueFact* mask, ctx.Inferred(1));
    if (mask->dtype != DType::kBool) return ctx.Unsupported("the mask, before opset 10");
    ASSIGN_OR_RETURN(Value * out, ctx.Out(1));
    for (uint8_t& kept : out->Mutable<uint8_t>()) kept = 1;
  }
  ctx.Set(0, in);
  return absl::OkStatus();
}

constexpr OpForward kForwards[] = {
    {"", "Abs", Mapped<kNumbers, AbsFn>, kMapFlags},
    {"", "Acos", Mapped<kFloats, AcosFn>, kMapFlags},
    {"", "Acosh", Mapped<kFloats, AcoshFn>, kMapFlags},
    {"", "Asin", Mapped<kFloats, AsinFn>, kMapFlags},
    {"", "Asinh", Mapped<kFloats, AsinhFn>, kMapFlags},
    {"", "Atan", Mapped<kFloats, AtanFn>, kMapFlags},
    {"", "Atanh", Mapped<kFloats, AtanhFn>, kMapFlags},
    {"", "BitwiseNot", Mapped<kInts, BitwiseNotFn>},
    {"", "Ceil", Mapped<kFloats, CeilFn>, kMapFlags},
    {"", "Cos", Mapped<kFloats, CosFn>, kMapFlags},
    {"", "Cosh", Mapped<kFloats, CoshFn>, kMapFlags},
    {"", "Dropout", Dropout, kTakesBlocked},
    {"", "Erf", Mapped<kNumbers, ErfFn>, kMapFlags},
    {"", "Exp", Mapped<kFloats, ExpFn>, kMapFlags},
    {"", "Floor", Mapped<kFloats, FloorFn>, kMapFlags},
    {"", "Identity", Identity, kTakesBlocked},
    {"", "IsInf", IsInf, kComputesInFloat | kTakesDouble},
    {"", "IsNaN", IsNaN, kComputesInFloat | kTakesDouble},
    {"", "Log", Mapped<kFloats, LogFn>, kMapFlags},
    {"", "Neg", Mapped<kNumbers, NegFn>, kMapFlags},
    {"", "Not", Not},
    {"", "Reciprocal", Mapped<kFloats, ReciprocalFn>, kMapFlags},
    {"", "Round", Mapped<kFloats, RoundFn>, kMapFlags},
    {"", "Sign", Mapped<kNumbers, SignFn>, kMapFlags},
    {"", "Sin", Mapped<kFloats, SinFn>, kMapFlags},
    {"", "Sinh", Mapped<kFloats, SinhFn>, kMapFlags},
    {"", "Sqrt", Mapped<kFloats, SqrtFn>, kMapFlags},
    {"", "Tan", Mapped<kFloats, TanFn>, kMapFlags},
};

}  // namespace

std::span<const OpForward> UnaryForwards() { return kForwards; }

}  // namespace lathe::engine
