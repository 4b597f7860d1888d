// Arithmetic on two operands or more, with numpy's broadcasting. Integers wrap around; a quotient
// or remainder by zero is 0, and the quotient of the least integer by -1 is that integer.
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "common/status_macros.h"
#include "worker/engine/kernels/elementwise.h"
#include "worker/engine/ops/forward/elementwise.h"
#include "worker/engine/ops/forward/forward.h"
#include "worker/engine/ops/forward/run_node.h"
#include "worker/engine/ops/forward/value_read.h"

namespace lathe::engine {
namespace {

struct AddFn {
  static constexpr PairOp kOp = PairOp::kAdd;
  static constexpr bool kKeepsZero = true;  // fn(0, 0) = 0
  template <class T>
  T operator()(T a, T b) const {
    if constexpr (std::is_integral_v<T>) {
      return static_cast<T>(static_cast<Wrapping<T>>(a) + static_cast<Wrapping<T>>(b));
    } else {
      return a + b;
    }
  }
};

struct SubFn {
  static constexpr PairOp kOp = PairOp::kSub;
  static constexpr bool kKeepsZero = true;
  template <class T>
  T operator()(T a, T b) const {
    if constexpr (std::is_integral_v<T>) {
      return static_cast<T>(static_cast<Wrapping<T>>(a) - static_cast<Wrapping<T>>(b));
    } else {
      return a - b;
    }
  }
};

struct MulFn {
  static constexpr PairOp kOp = PairOp::kMul;
  static constexpr bool kKeepsZero = true;
  template <class T>
  T operator()(T a, T b) const {
    if constexpr (std::is_integral_v<T>) {
      return static_cast<T>(static_cast<Wrapping<T>>(a) * static_cast<Wrapping<T>>(b));
    } else {
      return a * b;
    }
  }
};

struct DivFn {
  static constexpr PairOp kOp = PairOp::kDiv;
  static constexpr bool kKeepsZero = false;
  template <class T>
  T operator()(T a, T b) const {
    if constexpr (std::is_integral_v<T>) {
      if (b == 0) return 0;
      if constexpr (std::is_signed_v<T>) {
        if (b == -1) return SubFn()(T(0), a);
      }
      return static_cast<T>(a / b);
    } else {
      return a / b;
    }
  }
};

struct MinFn {
  static constexpr PairOp kOp = PairOp::kMin;
  static constexpr bool kKeepsZero = true;
  template <class T>
  T operator()(T a, T b) const {
    if constexpr (!std::is_integral_v<T>) {
      if (std::isnan(a) || std::isnan(b)) return a + b;
    }
    return b < a ? b : a;
  }
};

struct MaxFn {
  static constexpr PairOp kOp = PairOp::kMax;
  static constexpr bool kKeepsZero = true;
  template <class T>
  T operator()(T a, T b) const {
    if constexpr (!std::is_integral_v<T>) {
      if (std::isnan(a) || std::isnan(b)) return a + b;
    }
    return a < b ? b : a;
  }
};

// The shape of the memory: of blocked values [N, ceil(C / block), spatial..., block].
Shape StoredShape(const Value& value) {
  Shape dims = value.dims;
  if (value.layout == Layout::kPlain || dims.size() < 2) return dims;
  const int64_t block = LayoutBlock(value.layout);
  dims[1] = (dims[1] + block - 1) / block;
  dims.push_back(block);
  return dims;
}

template <class Fn>
absl::Status Combine(const RunContext& ctx, const Value& a, const Value& b, Value& out) {
  if (out.dtype == DType::kFloat) {
    const Shape left = StoredShape(a);
    const Shape right = StoredShape(b);
    const auto walk = BroadcastWalk<2>::Make(StoredShape(out), {&left, &right});
    if (!walk) return ctx.Error("the shapes do not broadcast");
    const auto* x = reinterpret_cast<const float*>(a.data);
    const auto* y = reinterpret_cast<const float*>(b.data);
    auto* to = reinterpret_cast<float*>(out.buffer->data());
    walk->ForEachRun([&](int64_t at, const auto& from) {
      ApplyPair(Fn::kOp, x + from[0], walk->step(0), y + from[1], walk->step(1), walk->run(),
                to + at);
    });
    return absl::OkStatus();
  }
  return VisitNumber(ctx, out.dtype, [&](auto zero) {
    using T = decltype(zero);
    return BroadcastPair<T, T, T>(ctx, a, b, out, Fn());
  });
}

// Whether all inputs lie blocked alike, so that they can be combined as they lie.
bool AllBlocked(const RunContext& ctx) {
  const Value& first = ctx.In(0);
  if (first.layout == Layout::kPlain) return false;
  for (size_t i = 1; i < ctx.input_count(); ++i) {
    const Value& in = ctx.In(i);
    if (in.layout != first.layout || in.dims.size() != first.dims.size() ||
        in.dims[1] != first.dims[1]) {
      return false;
    }
  }
  return true;
}

// Where the result goes: over one of the first two inputs when it can.
absl::StatusOr<Value*> OutCombined(RunContext& ctx, bool blocked) {
  if (!blocked) return OutOver(ctx, {0, 1});
  ASSIGN_OR_RETURN(const ValueFact* fact, ctx.Inferred(0));
  const size_t over = ctx.In(0).dims == fact->dims ? 0 : 1;
  return ctx.OutInPlace(0, over, fact->dtype, fact->dims, ctx.In(0).layout);
}

// in[0] fn in[1] fn in[2] ..., in this order.
template <class Fn>
absl::StatusOr<Value*> Fold(RunContext& ctx) {
  const size_t count = ctx.input_count();
  if (count == 0) return ctx.Error("it takes at least one input");
  RETURN_IF_ERROR(CheckSameType(ctx, count));
  if (ctx.opset() < 7 && ctx.node().IntAttribute("broadcast", 0) != 0) {
    return ctx.Unsupported("broadcasting as before opset 7");
  }
  std::vector<Value> plain(count);
  const bool blocked = Fn::kKeepsZero && AllBlocked(ctx);
  const auto input = [&](size_t i) -> const Value& {
    return plain[i].kind == Value::Kind::kNone ? ctx.In(i) : plain[i];
  };
  for (size_t i = 0; i < count && !blocked; ++i) {
    if (ctx.In(i).layout == Layout::kPlain) continue;
    ASSIGN_OR_RETURN(plain[i], ToPlain(ctx.In(i), ctx.memory()));
  }
  ASSIGN_OR_RETURN(Value * out, OutCombined(ctx, blocked));
  if (count == 1) {
    const Value& only = input(0);
    if (out->data != only.data) std::memcpy(out->buffer->data(), only.data, only.bytes());
    return out;
  }
  RETURN_IF_ERROR(Combine<Fn>(ctx, input(0), input(1), *out));
  for (size_t i = 2; i < count; ++i) {
    const Value so_far = *out;
    RETURN_IF_ERROR(Combine<Fn>(ctx, so_far, input(i), *out));
  }
  return out;
}

template <class Fn>
absl::Status Binary(RunContext& ctx) {
  if (ctx.input_count() != 2) return ctx.Error("it takes two inputs");
  return Fold<Fn>(ctx).status();
}

template <class Fn>
absl::Status Variadic(RunContext& ctx) {
  return Fold<Fn>(ctx).status();
}

absl::Status Mean(RunContext& ctx) {
  ASSIGN_OR_RETURN(Value * out, Fold<AddFn>(ctx));
  return VisitNumber<kFloats>(ctx, out->dtype, [&](auto zero) {
    using T = decltype(zero);
    const auto count = static_cast<T>(ctx.input_count());
    auto* elements = reinterpret_cast<T*>(out->buffer->data());
    const int64_t stored = out->bytes() / static_cast<int64_t>(sizeof(T));
    for (int64_t i = 0; i < stored; ++i) elements[i] /= count;
    return absl::OkStatus();
  });
}

// base^exponent by squaring, wrapping around; of a negative exponent the quotient's whole part.
template <class T>
T IntegerPower(T base, int64_t exponent) {
  if (exponent < 0) {
    if (base == 1) return 1;
    if constexpr (std::is_signed_v<T>) {
      if (base == -1) return exponent % 2 == 0 ? T(1) : T(-1);
    }
    return 0;
  }
  auto power = static_cast<Wrapping<T>>(1);
  auto square = static_cast<Wrapping<T>>(base);
  for (; exponent != 0; exponent >>= 1) {
    if ((exponent & 1) != 0) power *= square;
    square *= square;
  }
  return static_cast<T>(power);
}

template <class T, class E>
T Power(T base, E exponent) {
  if constexpr (std::is_integral_v<T> && std::is_integral_v<E>) {
    // An exponent past int64 keeps its parity, and gives what a smaller one gives modulo 2^64.
    constexpr auto kMost = std::numeric_limits<int64_t>::max();
    if constexpr (std::is_same_v<E, uint64_t>) {
      if (exponent > static_cast<uint64_t>(kMost)) {
        return IntegerPower(base, exponent % 2 == 0 ? kMost - 1 : kMost);
      }
    }
    return IntegerPower(base, static_cast<int64_t>(exponent));
  } else if constexpr (std::is_integral_v<T>) {
    return Saturated<T>(std::pow(static_cast<double>(base), static_cast<double>(exponent)));
  } else {
    return std::pow(base, static_cast<T>(exponent));
  }
}

// The exponents of models' formulas; false for any other.
template <class T>
bool EasyPower(const T* base, double exponent, int64_t count, T* out) {
  if (exponent == 2) {
    for (int64_t i = 0; i < count; ++i) out[i] = base[i] * base[i];
  } else if (exponent == 3) {
    for (int64_t i = 0; i < count; ++i) out[i] = base[i] * base[i] * base[i];
  } else if (exponent == 1) {
    for (int64_t i = 0; i < count; ++i) out[i] = base[i];
  } else {
    return false;
  }
  return true;
}

template <class T>
absl::Status PowerOf(const RunContext& ctx, const Value& base, const Value& exponent, Value& out) {
  if constexpr (!std::is_integral_v<T>) {
    if (exponent.size() == 1 && base.dims == out.dims) {
      const double first = ReadFirst(exponent).value_or(0);
      if (EasyPower(base.As<T>().data(), first, base.size(), out.Mutable<T>().data())) {
        return absl::OkStatus();
      }
    }
  }
  return VisitNumber(ctx, exponent.dtype, [&](auto zero) {
    using E = decltype(zero);
    return BroadcastPair<T, E, T>(ctx, base, exponent, out, [](T b, E e) { return Power(b, e); });
  });
}

// The type is the base's, whatever the exponent's.
absl::Status Pow(RunContext& ctx) {
  RETURN_IF_ERROR(CheckTensors(ctx, 2));
  ASSIGN_OR_RETURN(const ValueFact* fact, ctx.Inferred(0));
  const auto widened = [&](const Value& in) -> absl::StatusOr<Value> {
    if (in.dtype != DType::kFloat16 && in.dtype != DType::kBfloat16) return in;
    return ConvertFloat(in, DType::kFloat, ctx.memory());
  };
  ASSIGN_OR_RETURN(const Value base, widened(ctx.In(0)));
  ASSIGN_OR_RETURN(const Value exponent, widened(ctx.In(1)));
  ASSIGN_OR_RETURN(Value * out, ctx.Out(0, base.dtype, fact->dims));
  RETURN_IF_ERROR(VisitNumber(ctx, base.dtype, [&](auto zero) {
    return PowerOf<decltype(zero)>(ctx, base, exponent, *out);
  }));
  if (base.dtype == ctx.In(0).dtype) return absl::OkStatus();
  ASSIGN_OR_RETURN(Value narrow, ConvertFloat(*out, ctx.In(0).dtype, ctx.memory()));
  ctx.Set(0, std::move(narrow));
  return absl::OkStatus();
}

// The remainder with the sign of the divisor, or (fmod) of the dividend as C has it.
template <class T>
T Remainder(T a, T b, bool fmod) {
  if constexpr (std::is_integral_v<T>) {
    if (b == 0) return 0;
    if constexpr (std::is_signed_v<T>) {
      if (b == -1) return 0;
    }
    const auto rest = static_cast<T>(a % b);
    return !fmod && rest != 0 && ((rest < 0) != (b < 0)) ? static_cast<T>(rest + b) : rest;
  } else {
    const T rest = std::fmod(a, b);
    if (fmod || std::isnan(rest)) return rest;
    if (rest == 0) return std::copysign(T(0), b);
    return (rest < 0) != (b < 0) ? rest + b : rest;
  }
}

absl::Status Mod(RunContext& ctx) {
  RETURN_IF_ERROR(CheckSameType(ctx, 2));
  const bool fmod = ctx.node().IntAttribute("fmod", 0) != 0;
  ASSIGN_OR_RETURN(Value * out, OutOver(ctx, {0, 1}));
  return VisitNumber(ctx, out->dtype, [&](auto zero) {
    using T = decltype(zero);
    return BroadcastPair<T, T, T>(ctx, ctx.In(0), ctx.In(1), *out,
                                  [fmod](T a, T b) { return Remainder(a, b, fmod); });
  });
}

constexpr unsigned kReal = kComputesInFloat | kTakesDouble;

constexpr OpForward kForwards[] = {
    {"", "Add", Binary<AddFn>, kReal | kTakesBlocked},
    {"", "Div", Binary<DivFn>, kReal | kTakesBlocked},
    {"", "Max", Variadic<MaxFn>, kReal | kTakesBlocked},
    {"", "Mean", Mean, kReal | kTakesBlocked},
    {"", "Min", Variadic<MinFn>, kReal | kTakesBlocked},
    {"", "Mod", Mod, kReal},
    {"", "Mul", Binary<MulFn>, kReal | kTakesBlocked},
    {"", "Pow", Pow},
    {"", "Sub", Binary<SubFn>, kReal | kTakesBlocked},
    {"", "Sum", Variadic<AddFn>, kReal | kTakesBlocked},
};

}  // namespace

std::span<const OpForward> ArithmeticForwards() { return kForwards; }

}  // namespace lathe::engine
