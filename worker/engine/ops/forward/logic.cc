// Comparisons, truth values, bits, and the choice between two values.
#include <limits>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/engine/ops/forward/elementwise.h"
#include "worker/engine/ops/forward/forward.h"

namespace lathe::engine {
namespace {

struct EqualFn {
  template <class T>
  uint8_t operator()(const T& a, const T& b) const {
    return a == b;
  }
};

struct LessFn {
  template <class T>
  uint8_t operator()(T a, T b) const {
    return a < b;
  }
};

struct LessOrEqualFn {
  template <class T>
  uint8_t operator()(T a, T b) const {
    return a <= b;
  }
};

struct GreaterFn {
  template <class T>
  uint8_t operator()(T a, T b) const {
    return a > b;
  }
};

struct GreaterOrEqualFn {
  template <class T>
  uint8_t operator()(T a, T b) const {
    return a >= b;
  }
};

struct AndFn {
  template <class T>
  T operator()(T a, T b) const {
    return static_cast<T>(a & b);
  }
};

struct OrFn {
  template <class T>
  T operator()(T a, T b) const {
    return static_cast<T>(a | b);
  }
};

struct XorFn {
  template <class T>
  T operator()(T a, T b) const {
    return static_cast<T>(a ^ b);
  }
};

absl::Status CheckPair(const RunContext& ctx) {
  if (ctx.input_count() != 2) return ctx.Error("it takes two inputs");
  if (ctx.opset() < 7 && ctx.node().IntAttribute("broadcast", 0) != 0) {
    return ctx.Unsupported("broadcasting as before opset 7");
  }
  return CheckSameType(ctx, 2);
}

template <class Fn>
absl::Status Compare(RunContext& ctx) {
  RETURN_IF_ERROR(CheckPair(ctx));
  ASSIGN_OR_RETURN(Value * out, OutOver(ctx, {}));
  return VisitNumber(ctx, ctx.In(0).dtype, [&](auto zero) {
    using T = decltype(zero);
    return BroadcastPair<T, T, uint8_t>(ctx, ctx.In(0), ctx.In(1), *out, Fn());
  });
}

absl::Status EqualStrings(const RunContext& ctx, Value& out) {
  const Value& a = ctx.In(0);
  const Value& b = ctx.In(1);
  const auto walk = BroadcastWalk<2>::Make(out.dims, {&a.dims, &b.dims});
  if (!walk) return ctx.Error("the shapes do not broadcast");
  const auto to = out.Mutable<uint8_t>();
  walk->ForEachRun([&](int64_t at, const auto& from) {
    for (int64_t i = 0; i < walk->run(); ++i) {
      to[at + i] =
          (*a.strings)[from[0] + i * walk->step(0)] == (*b.strings)[from[1] + i * walk->step(1)];
    }
  });
  return absl::OkStatus();
}

absl::Status Equal(RunContext& ctx) {
  RETURN_IF_ERROR(CheckPair(ctx));
  if (ctx.In(0).dtype == DType::kString) {
    ASSIGN_OR_RETURN(Value * out, ctx.Out(0));
    return EqualStrings(ctx, *out);
  }
  if (ctx.In(0).dtype == DType::kBool) {
    ASSIGN_OR_RETURN(Value * out, ctx.Out(0));
    return BroadcastPair<uint8_t, uint8_t, uint8_t>(
        ctx, ctx.In(0), ctx.In(1), *out,
        [](uint8_t a, uint8_t b) -> uint8_t { return (a != 0) == (b != 0); });
  }
  return Compare<EqualFn>(ctx);
}

// And, Or, Xor of bools. A file's bools may be other bytes than 0 and 1.
template <class Fn>
absl::Status Truth(RunContext& ctx) {
  RETURN_IF_ERROR(CheckPair(ctx));
  if (ctx.In(0).dtype != DType::kBool) return ctx.Error("it takes bool");
  ASSIGN_OR_RETURN(Value * out, OutOver(ctx, {0, 1}));
  const auto fn = [](uint8_t a, uint8_t b) {
    return Fn()(static_cast<uint8_t>(a != 0), static_cast<uint8_t>(b != 0));
  };
  return BroadcastPair<uint8_t, uint8_t, uint8_t>(ctx, ctx.In(0), ctx.In(1), *out, fn);
}

template <class Fn>
absl::Status Bitwise(RunContext& ctx) {
  RETURN_IF_ERROR(CheckPair(ctx));
  ASSIGN_OR_RETURN(Value * out, OutOver(ctx, {0, 1}));
  return VisitNumber<kInts>(ctx, ctx.In(0).dtype, [&](auto zero) {
    using T = decltype(zero);
    return BroadcastPair<T, T, T>(ctx, ctx.In(0), ctx.In(1), *out, Fn());
  });
}

// By a negative number, or the width or more, what is left is the sign: of a negative x to the
// right -1, otherwise 0.
template <class T>
T Shifted(T x, T by, bool left) {
  using U = std::make_unsigned_t<T>;
  const bool negative = x < T(0);
  if (by < T(0) || by >= static_cast<T>(std::numeric_limits<U>::digits)) {
    return negative && !left ? static_cast<T>(-1) : T(0);
  }
  if (left) return static_cast<T>(static_cast<Wrapping<T>>(x) << by);
  return static_cast<T>(x >> by);  // arithmetic where T is signed
}

absl::Status BitShift(RunContext& ctx) {
  RETURN_IF_ERROR(CheckPair(ctx));
  const std::string direction = ctx.node().StringAttribute("direction", "");
  if (direction != "LEFT" && direction != "RIGHT") {
    return ctx.Error(absl::StrCat("direction must be LEFT or RIGHT, not '", direction, "'"));
  }
  const bool left = direction == "LEFT";
  ASSIGN_OR_RETURN(Value * out, OutOver(ctx, {0, 1}));
  return VisitNumber<kInts>(ctx, ctx.In(0).dtype, [&](auto zero) -> absl::Status {
    using T = decltype(zero);
    return BroadcastPair<T, T, T>(ctx, ctx.In(0), ctx.In(1), *out,
                                  [left](T x, T by) { return Shifted(x, by, left); });
  });
}

// fn(place of the output, place in the condition, in X, in Y) for each element.
template <class Fn>
absl::Status Choose(const RunContext& ctx, const Shape& dims, const Fn& fn) {
  const auto walk =
      BroadcastWalk<3>::Make(dims, {&ctx.In(0).dims, &ctx.In(1).dims, &ctx.In(2).dims});
  if (!walk) return ctx.Error("the shapes do not broadcast");
  walk->ForEachRun([&](int64_t at, const auto& from) {
    for (int64_t i = 0; i < walk->run(); ++i) {
      fn(at + i, from[0] + i * walk->step(0), from[1] + i * walk->step(1),
         from[2] + i * walk->step(2));
    }
  });
  return absl::OkStatus();
}

// Any type of whole bytes.
absl::Status Where(RunContext& ctx) {
  RETURN_IF_ERROR(CheckTensors(ctx, 3));
  if (ctx.In(0).dtype != DType::kBool) return ctx.Error("the condition must be bool");
  const DType dtype = ctx.In(1).dtype;
  if (dtype != ctx.In(2).dtype) return ctx.Error("inputs 1 and 2 must be of one type");
  const uint8_t* condition = ctx.Data<uint8_t>(0).data();
  if (dtype == DType::kString) {
    ASSIGN_OR_RETURN(const ValueFact* fact, ctx.Inferred(0));
    const Shape dims = fact->dims;
    RETURN_IF_ERROR(CheckStringCount(ctx, fact->size()));
    std::vector<std::string> chosen(static_cast<size_t>(fact->size()));
    RETURN_IF_ERROR(Choose(ctx, dims, [&](int64_t at, int64_t c, int64_t x, int64_t y) {
      chosen[at] = condition[c] != 0 ? (*ctx.In(1).strings)[x] : (*ctx.In(2).strings)[y];
    }));
    ctx.Set(0, Value::FromStrings(dims, std::move(chosen)));
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(Value * out, OutOver(ctx, {1, 2}));
  const auto choose = [&](auto zero) {
    using T = decltype(zero);
    const T* yes = ctx.Data<T>(1).data();
    const T* no = ctx.Data<T>(2).data();
    T* to = out->Mutable<T>().data();
    return Choose(ctx, out->dims, [=](int64_t at, int64_t c, int64_t x, int64_t y) {
      to[at] = condition[c] != 0 ? yes[x] : no[y];
    });
  };
  if (dtype == DType::kComplex128) return choose(std::array<uint64_t, 2>());
  return VisitWidth(ctx, dtype, choose);
}

constexpr unsigned kReal = kComputesInFloat | kTakesDouble;

constexpr OpForward kForwards[] = {
    {"", "And", Truth<AndFn>},
    {"", "BitShift", BitShift},
    {"", "BitwiseAnd", Bitwise<AndFn>},
    {"", "BitwiseOr", Bitwise<OrFn>},
    {"", "BitwiseXor", Bitwise<XorFn>},
    {"", "Equal", Equal, kReal},
    {"", "Greater", Compare<GreaterFn>, kReal},
    {"", "GreaterOrEqual", Compare<GreaterOrEqualFn>, kReal},
    {"", "Less", Compare<LessFn>, kReal},
    {"", "LessOrEqual", Compare<LessOrEqualFn>, kReal},
    {"", "Or", Truth<OrFn>},
    {"", "Where", Where},
    {"", "Xor", Truth<XorFn>},
};

}  // namespace

std::span<const OpForward> LogicForwards() { return kForwards; }

}  // namespace lathe::engine
