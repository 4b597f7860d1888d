// Operators that work element by element: the shape of the input, or numpy's broadcasting of all
// inputs.
#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "worker/engine/ops/op_rules.h"

namespace lathe::engine {
namespace {

// Position in a value of shape `from` of every element of a value of shape `to` it broadcasts to.
std::vector<int64_t> BroadcastIndices(const Shape& from, const Shape& to) {
  const std::vector<int64_t> strides = Strides(from);
  const size_t lead = to.size() - from.size();
  int64_t count = 1;
  for (const int64_t extent : to) count *= extent;
  std::vector<int64_t> out(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    int64_t rest = i;
    int64_t at = 0;
    for (size_t axis = to.size(); axis-- > 0;) {
      const int64_t position = rest % to[axis];
      rest /= to[axis];
      if (axis >= lead && from[axis - lead] != 1) at += position * strides[axis - lead];
    }
    out[static_cast<size_t>(i)] = at;
  }
  return out;
}

std::optional<int64_t> IntBinary(const std::string& op, int64_t a, int64_t b, bool fmod) {
  int64_t out = 0;
  if (op == "Add") return __builtin_add_overflow(a, b, &out) ? std::nullopt : std::optional(out);
  if (op == "Sub") return __builtin_sub_overflow(a, b, &out) ? std::nullopt : std::optional(out);
  if (op == "Mul") return __builtin_mul_overflow(a, b, &out) ? std::nullopt : std::optional(out);
  if (op == "Div" || op == "Mod") {
    if (b == 0 || (b == -1 && a == std::numeric_limits<int64_t>::min())) return std::nullopt;
    if (op == "Div") return a / b;
    out = a % b;  // the sign of the dividend, as fmod; otherwise that of the divisor
    return !fmod && out != 0 && ((out < 0) != (b < 0)) ? out + b : out;
  }
  if (op == "Min") return std::min(a, b);
  if (op == "Max") return std::max(a, b);
  if (op == "And") return a != 0 && b != 0;
  if (op == "Or") return a != 0 || b != 0;
  if (op == "Equal") return a == b;
  if (op == "Greater") return a > b;
  if (op == "Less") return a < b;
  if (op == "GreaterOrEqual") return a >= b;
  if (op == "LessOrEqual") return a <= b;
  return std::nullopt;
}

std::optional<double> RealBinary(const std::string& op, double a, double b) {
  if (op == "Add") return a + b;
  if (op == "Sub") return a - b;
  if (op == "Mul") return a * b;
  if (op == "Div") return a / b;
  if (op == "Min") return std::min(a, b);
  if (op == "Max") return std::max(a, b);
  if (op == "Pow") return std::pow(a, b);
  return std::nullopt;
}

// Evaluates a binary operator over small known inputs.
void FoldBinary(const OpContext& ctx, ValueFact& out) {
  if (ctx.input_count() != 2 || !ctx.In(0).known || !ctx.In(1).known) return;
  if (out.size() > kMaxFoldedElements) return;
  const std::vector<int64_t> left = BroadcastIndices(ctx.Dims(0), out.dims);
  const std::vector<int64_t> right = BroadcastIndices(ctx.Dims(1), out.dims);
  const std::string& op = ctx.node().op_type;
  if (IsFloat(ctx.In(0).dtype) && IsFloat(out.dtype)) {
    if (!IsFloat(ctx.In(1).dtype)) return;
    std::vector<double> values;
    for (size_t i = 0; i < left.size(); ++i) {
      const auto value = RealBinary(op, ctx.In(0).reals[left[i]], ctx.In(1).reals[right[i]]);
      if (!value) return;
      values.push_back(*value);
    }
    out.reals = std::move(values);
  } else if (!IsFloat(ctx.In(0).dtype) && !IsFloat(ctx.In(1).dtype)) {
    const bool fmod = ctx.node().IntAttribute("fmod", 0) != 0;
    std::vector<int64_t> values;
    for (size_t i = 0; i < left.size(); ++i) {
      const auto value = IntBinary(op, ctx.In(0).ints[left[i]], ctx.In(1).ints[right[i]], fmod);
      if (!value) return;
      values.push_back(*value);
    }
    out.ints = std::move(values);
  } else {
    return;
  }
  out.known = true;
}

std::optional<Shape> BroadcastAll(const OpContext& ctx) {
  if (!ctx.Ranked(0)) return std::nullopt;
  Shape dims = ctx.Dims(0);
  for (size_t i = 1; i < ctx.input_count(); ++i) {
    if (!ctx.Ranked(i)) return std::nullopt;
    // Before opset 7 `axis` placed the second operand; it never made the shape larger.
    if (ctx.node().IntAttribute("broadcast", 0) != 0) continue;
    std::optional<Shape> wider = Broadcast(dims, ctx.Dims(i));
    if (!wider) return std::nullopt;
    dims = *std::move(wider);
  }
  return dims;
}

}  // namespace

bool InferSame(OpContext& ctx) {
  if (!ctx.Ranked(0)) return false;
  ValueFact& out = ctx.Set(0, ctx.In(0).dtype, ctx.Dims(0));
  if (ctx.node().op_type == "Identity") {
    ShareElements(ctx.In(0), out);
    out.dequantized = ctx.In(0).dequantized;
  }
  return true;
}

bool InferSameBool(OpContext& ctx) {
  if (!ctx.Ranked(0)) return false;
  ValueFact& out = ctx.Set(0, DType::kBool, ctx.Dims(0));
  if (ctx.node().op_type == "Not" && ctx.In(0).known) {
    for (const int64_t value : ctx.In(0).ints) out.ints.push_back(value == 0);
    out.known = true;
  }
  return true;
}

bool InferBroadcast(OpContext& ctx) {
  std::optional<Shape> dims = BroadcastAll(ctx);
  if (!dims) return false;
  ValueFact& out = ctx.Set(0, ctx.In(0).dtype, *std::move(dims));
  if (IsPlausible(out.dims)) FoldBinary(ctx, out);
  return true;
}

bool InferCompare(OpContext& ctx) {
  std::optional<Shape> dims = BroadcastAll(ctx);
  if (!dims) return false;
  ValueFact& out = ctx.Set(0, DType::kBool, *std::move(dims));
  if (IsPlausible(out.dims)) FoldBinary(ctx, out);
  return true;
}

bool InferWhere(OpContext& ctx) {
  std::optional<Shape> dims = BroadcastAll(ctx);
  if (!dims) return false;
  ValueFact& out = ctx.Set(0, ctx.In(1).dtype, *std::move(dims));
  if (!IsPlausible(out.dims) || out.size() > kMaxFoldedElements) return true;
  if (!ctx.In(0).known || !ctx.In(1).known || !ctx.In(2).known) return true;
  if (IsFloat(ctx.In(1).dtype) != IsFloat(ctx.In(2).dtype) || IsFloat(ctx.In(0).dtype)) return true;
  const std::vector<int64_t> choice = BroadcastIndices(ctx.Dims(0), out.dims);
  const std::vector<int64_t> yes = BroadcastIndices(ctx.Dims(1), out.dims);
  const std::vector<int64_t> no = BroadcastIndices(ctx.Dims(2), out.dims);
  for (size_t i = 0; i < choice.size(); ++i) {
    const bool first = ctx.In(0).ints[choice[i]] != 0;
    const ValueFact& from = first ? ctx.In(1) : ctx.In(2);
    const auto at = static_cast<size_t>(first ? yes[i] : no[i]);
    if (IsFloat(from.dtype)) {
      out.reals.push_back(from.reals[at]);
    } else {
      out.ints.push_back(from.ints[at]);
    }
  }
  out.known = true;
  return true;
}

bool InferCast(OpContext& ctx) {
  if (!ctx.Ranked(0)) return false;
  const DType to = ctx.node().op_type == "CastLike"
                       ? ctx.In(1).dtype
                       : static_cast<DType>(ctx.node().IntAttribute("to", 0));
  const ValueFact& in = ctx.In(0);
  ValueFact& out = ctx.Set(0, to, ctx.Dims(0));
  if (!in.known || to == DType::kString || ctx.node().op_type == "BitCast") return true;
  if (IsFloat(in.dtype) && IsFloat(to)) {
    out.reals = in.reals;
  } else if (IsFloat(in.dtype)) {
    for (const double value : in.reals) {
      if (!(std::abs(value) < 9e18)) return true;
      out.ints.push_back(to == DType::kBool ? value != 0 : static_cast<int64_t>(value));
    }
  } else if (IsFloat(to)) {
    for (const int64_t value : in.ints) out.reals.push_back(static_cast<double>(value));
  } else {
    for (const int64_t value : in.ints) out.ints.push_back(to == DType::kBool ? value != 0 : value);
  }
  out.known = true;
  return true;
}

bool InferDropout(OpContext& ctx) {
  if (!ctx.Ranked(0)) return false;
  ctx.Set(0, ctx.In(0).dtype, ctx.Dims(0));
  ctx.Set(1, ctx.opset() < 10 ? ctx.In(0).dtype : DType::kBool, ctx.Dims(0));
  return true;
}

bool InferUnaryMath(OpContext& ctx) {
  if (!ctx.Ranked(0)) return false;
  const ValueFact& in = ctx.In(0);
  ValueFact& out = ctx.Set(0, in.dtype, ctx.Dims(0));
  if (!in.known) return true;
  const std::string& op = ctx.node().op_type;
  if (!IsFloat(in.dtype)) {
    for (const int64_t value : in.ints) {
      if (value == std::numeric_limits<int64_t>::min()) return true;
      if (op == "Neg") {
        out.ints.push_back(-value);
      } else if (op == "Abs") {
        out.ints.push_back(std::abs(value));
      } else if (op == "Sign") {
        out.ints.push_back((value > 0) - (value < 0));
      } else {
        return true;
      }
    }
    out.known = true;
    return true;
  }
  double (*fn)(double) = nullptr;
  if (op == "Neg") fn = [](double x) { return -x; };
  if (op == "Abs") fn = [](double x) { return std::abs(x); };
  if (op == "Floor") fn = [](double x) { return std::floor(x); };
  if (op == "Ceil") fn = [](double x) { return std::ceil(x); };
  if (op == "Round") fn = [](double x) { return std::nearbyint(x); };
  if (op == "Sqrt") fn = [](double x) { return std::sqrt(x); };
  if (op == "Exp") fn = [](double x) { return std::exp(x); };
  if (op == "Log") fn = [](double x) { return std::log(x); };
  if (op == "Reciprocal") fn = [](double x) { return 1 / x; };
  if (fn == nullptr) return true;
  for (const double value : in.reals) out.reals.push_back(fn(value));
  out.known = true;
  return true;
}

bool InferNormalization(OpContext& ctx) {
  if (!ctx.Ranked(0)) return false;
  ctx.Set(0, ctx.In(0).dtype, ctx.Dims(0));
  if (ctx.output_count() == 1) return true;
  const std::string& op = ctx.node().op_type;
  if (op == "BatchNormalization") {
    // Running mean and variance of a model in training mode, saved ones before opset 14.
    for (size_t i = 1; i < ctx.output_count(); ++i) {
      const size_t from = i % 2 == 1 ? 3 : 4;
      if (!ctx.Ranked(from)) return false;
      ctx.Set(i, ctx.In(from).dtype, ctx.Dims(from));
    }
    return true;
  }
  // Mean and inverse deviation over the normalized axes.
  const auto axis = NormalAxis(ctx.node().IntAttribute("axis", -1), ctx.Rank(0));
  if (!axis) return false;
  Shape dims = ctx.Dims(0);
  std::fill(dims.begin() + *axis, dims.end(), 1);
  for (size_t i = 1; i < ctx.output_count(); ++i) ctx.Set(i, DType::kFloat, dims);
  return true;
}

bool InferSkipNormalization(OpContext& ctx) {
  if (!ctx.Ranked(0)) return false;
  ctx.Set(0, ctx.In(0).dtype, ctx.Dims(0));
  Shape dims = ctx.Dims(0);
  if (!dims.empty()) dims.back() = 1;
  ctx.Set(1, DType::kFloat, dims);
  ctx.Set(2, DType::kFloat, dims);
  ctx.Set(3, ctx.In(0).dtype, ctx.Dims(0));
  return true;
}

}  // namespace lathe::engine
