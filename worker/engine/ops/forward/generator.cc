// Values from nothing, or from a shape: constants, ranges, shapes, windows; and triangles and
// running sums, which follow an axis.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/engine/graph/sparse.h"
#include "worker/engine/graph/wire_reader.h"
#include "worker/engine/ops/forward/elementwise.h"
#include "worker/engine/ops/forward/forward.h"
#include "worker/engine/ops/forward/store_reals.h"
#include "worker/engine/ops/forward/value_read.h"

namespace lathe::engine {
namespace {

template <class T>
absl::Status Emit(RunContext& ctx, DType dtype, Shape dims, const std::vector<T>& elements) {
  ASSIGN_OR_RETURN(Value * out, ctx.Out(0, dtype, std::move(dims)));
  std::copy(elements.begin(), elements.end(), out->Mutable<T>().begin());
  return absl::OkStatus();
}

Shape LengthOf(size_t count) { return {static_cast<int64_t>(count)}; }

// The attribute sparse_value, which the graph keeps as it stands in the file.
absl::StatusOr<Tensor> SparseValue(const RunContext& ctx, const Attribute& attribute) {
  const WireSource wire{attribute.extra, "a sparse constant"};
  const FieldPath path;
  WireReader reader(wire, wire.bytes, path);
  WireField field;
  constexpr uint32_t kSparseTensor = 22;
  absl::string_view message;
  while (reader.Next(field)) {
    if (field.number != kSparseTensor) continue;
    RETURN_IF_ERROR(reader.GetBytes(field, "sparse_tensor", message));
  }
  RETURN_IF_ERROR(reader.status());
  if (message.empty()) return ctx.Error("sparse_value holds no tensor");
  return Densify("sparse_value", Bytes::Own(std::string(message)));
}

absl::Status Constant(RunContext& ctx) {
  const Node& node = ctx.node();
  if (const Attribute* value = node.FindAttribute("value")) {
    if (value->tensors.size() != 1) return ctx.Error("value must be a tensor");
    ctx.Set(0, Value::FromTensor(value->tensors[0]));
    return absl::OkStatus();
  }
  if (const Attribute* value = node.FindAttribute("value_int")) {
    return Emit<int64_t>(ctx, DType::kInt64, {}, {value->i});
  }
  if (const Attribute* value = node.FindAttribute("value_ints")) {
    return Emit(ctx, DType::kInt64, LengthOf(value->ints.size()), value->ints);
  }
  if (const Attribute* value = node.FindAttribute("value_float")) {
    return Emit<float>(ctx, DType::kFloat, {}, {value->f});
  }
  if (const Attribute* value = node.FindAttribute("value_floats")) {
    return Emit(ctx, DType::kFloat, LengthOf(value->floats.size()), value->floats);
  }
  if (const Attribute* value = node.FindAttribute("value_string")) {
    ctx.Set(0, Value::FromStrings({}, {value->s}));
    return absl::OkStatus();
  }
  if (const Attribute* value = node.FindAttribute("value_strings")) {
    ctx.Set(0, Value::FromStrings(LengthOf(value->strings.size()), value->strings));
    return absl::OkStatus();
  }
  if (const Attribute* value = node.FindAttribute("sparse_value")) {
    ASSIGN_OR_RETURN(const Tensor dense, SparseValue(ctx, *value));
    ctx.Set(0, Value::FromTensor(dense));
    return absl::OkStatus();
  }
  return ctx.Error("it has no value");
}

// Fills a tensor with its first element, whose code is `code` in the low bits.
template <class T>
void FillWith(const char* code, Value& out) {
  T element;
  std::memcpy(&element, code, sizeof(T));
  const auto to = out.Mutable<T>();
  std::fill(to.begin(), to.end(), element);
}

absl::Status ConstantOfShape(RunContext& ctx) {
  ASSIGN_OR_RETURN(const std::vector<int64_t> dims, ctx.Ints(0));
  const Attribute* value = ctx.node().FindAttribute("value");
  if (value == nullptr) {
    ASSIGN_OR_RETURN(Value * out, ctx.Out(0, DType::kFloat, dims));
    std::memset(out->buffer->data(), 0, static_cast<size_t>(out->bytes()));
    return absl::OkStatus();
  }
  if (value->tensors.size() != 1 || value->tensors[0].size() != 1) {
    return ctx.Error("value must be a tensor of one element");
  }
  const Tensor& fill = value->tensors[0];
  if (fill.dtype == DType::kString) {
    if (!IsPlausible(dims) || fill.strings.size() != 1) return ctx.Error("an impossible shape");
    const int64_t count = ValueBytes(DType::kUint8, dims, Layout::kPlain);
    RETURN_IF_ERROR(CheckStringCount(ctx, count));
    ctx.Set(0, Value::FromStrings(
                   dims, std::vector<std::string>(static_cast<size_t>(count), fill.strings[0])));
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(Value * out, ctx.Out(0, fill.dtype, dims));
  const char* code = fill.data.view().data();
  const int bits = DTypeBits(fill.dtype).value_or(0);
  if (bits < 8) {
    auto pattern = static_cast<unsigned>(static_cast<uint8_t>(code[0])) & ((1U << bits) - 1);
    for (int at = bits; at < 8; at += bits) pattern |= pattern << at;
    std::memset(out->buffer->data(), static_cast<int>(pattern & 0xFF),
                static_cast<size_t>(out->bytes()));
    return absl::OkStatus();
  }
  if (bits == 128) {
    FillWith<std::array<uint64_t, 2>>(code, *out);
    return absl::OkStatus();
  }
  return VisitWidth(ctx, fill.dtype, [&](auto zero) {
    FillWith<decltype(zero)>(code, *out);
    return absl::OkStatus();
  });
}

// start, start + delta, ... up to but without limit.
template <class T>
absl::Status RangeOf(RunContext& ctx) {
  const T start = ctx.Data<T>(0)[0];
  const T limit = ctx.Data<T>(1)[0];
  const T delta = ctx.Data<T>(2)[0];
  if (delta == T(0)) return ctx.Error("delta is 0");
  int64_t count = 0;
  if constexpr (std::is_integral_v<T>) {
    const __int128 distance = static_cast<__int128>(limit) - static_cast<__int128>(start);
    const __int128 step = delta;
    const __int128 steps = distance / step + (distance % step != 0 ? 1 : 0);
    // Truncation towards zero has rounded a negative quotient up already; it is none.
    if ((distance < 0) == (step < 0) && steps > 0) {
      if (steps > kMaxExtent) return ctx.Error("the range is too long");
      count = static_cast<int64_t>(steps);
    }
  } else {
    const double steps =
        std::ceil((static_cast<double>(limit) - static_cast<double>(start)) / delta);
    if (!(steps <= static_cast<double>(kMaxExtent))) {
      return ctx.Error("the range is too long, or not a number");
    }
    count = static_cast<int64_t>(std::max(steps, 0.0));
  }
  ASSIGN_OR_RETURN(Value * out, ctx.Out(0, ctx.In(0).dtype, {count}));
  const auto to = out->Mutable<T>();
  for (int64_t i = 0; i < count; ++i) {
    if constexpr (std::is_integral_v<T>) {
      to[i] = static_cast<T>(static_cast<__int128>(start) + static_cast<__int128>(delta) * i);
    } else {
      to[i] = start + static_cast<T>(i) * delta;
    }
  }
  return absl::OkStatus();
}

absl::Status Range(RunContext& ctx) {
  RETURN_IF_ERROR(CheckSameType(ctx, 3));
  for (size_t i = 0; i < 3; ++i) {
    if (ctx.In(i).size() != 1) return ctx.Error(absl::StrCat("input ", i, " must be a scalar"));
  }
  return VisitNumber(ctx, ctx.In(0).dtype, [&](auto zero) { return RangeOf<decltype(zero)>(ctx); });
}

// What the shape rule knows.
absl::Status EmitInferred(RunContext& ctx) {
  RETURN_IF_ERROR(CheckTensors(ctx, 1));
  ASSIGN_OR_RETURN(const ValueFact* fact, ctx.Inferred(0));
  const ValueFact copy = *fact;
  return Emit(ctx, DType::kInt64, copy.dims, copy.ints);
}

absl::Status EyeLike(RunContext& ctx) {
  RETURN_IF_ERROR(CheckTensors(ctx, 1));
  if (ctx.In(0).dims.size() != 2) return ctx.Error("it takes a matrix");
  ASSIGN_OR_RETURN(Value * out, ctx.Out(0));
  const int64_t columns = out->dims[1];
  const int64_t shift = std::clamp(ctx.node().IntAttribute("k", 0), -out->dims[0], columns);
  return StoreReals(ctx, *out,
                    [=](int64_t k) { return k % columns == k / columns + shift ? 1.0 : 0.0; });
}

// value(n, N) for each n: N is the size of a periodic window, and one less of a symmetric one.
template <class Fn>
absl::Status Window(RunContext& ctx, const Fn& value) {
  ASSIGN_OR_RETURN(const std::vector<int64_t> size, ctx.Ints(0));
  if (size.size() != 1 || size[0] < 0) return ctx.Error("size must be one number, 0 or more");
  const auto dtype = static_cast<DType>(ctx.node().IntAttribute("output_datatype", 1));
  const bool periodic = ctx.node().IntAttribute("periodic", 1) != 0;
  ASSIGN_OR_RETURN(Value * out, ctx.Out(0, dtype, {size[0]}));
  // A symmetric window of one element would divide by zero.
  if (size[0] == 1 && !periodic) return StoreReals(ctx, *out, [](int64_t) { return 1.0; });
  const double turn = 2 * M_PI / static_cast<double>(periodic ? size[0] : size[0] - 1);
  return StoreReals(ctx, *out, [&](int64_t n) { return value(turn * static_cast<double>(n)); });
}

absl::Status HannWindow(RunContext& ctx) {
  return Window(ctx, [](double angle) { return 0.5 - 0.5 * std::cos(angle); });
}

absl::Status HammingWindow(RunContext& ctx) {
  constexpr double kAlpha = 25.0 / 46;
  return Window(ctx, [](double angle) { return kAlpha - (1 - kAlpha) * std::cos(angle); });
}

absl::Status BlackmanWindow(RunContext& ctx) {
  return Window(
      ctx, [](double angle) { return 0.42 - 0.5 * std::cos(angle) + 0.08 * std::cos(2 * angle); });
}

// The upper or lower triangle of each matrix, from diagonal k on; zeros elsewhere.
absl::Status Trilu(RunContext& ctx) {
  RETURN_IF_ERROR(CheckTensors(ctx, 1));
  const Shape dims = ctx.In(0).dims;
  if (dims.size() < 2) return ctx.Error("it takes matrices");
  int64_t k = 0;
  if (ctx.Has(1)) {
    ASSIGN_OR_RETURN(const std::vector<int64_t> given, ctx.Ints(1));
    if (given.size() != 1) return ctx.Error("k must be one number");
    k = given[0];
  }
  const int64_t rows = dims[dims.size() - 2];
  const int64_t columns = dims.back();
  k = std::clamp(k, -rows, columns);
  const bool upper = ctx.node().IntAttribute("upper", 1) != 0;
  return VisitWidth(ctx, ctx.In(0).dtype, [&](auto zero) -> absl::Status {
    using T = decltype(zero);
    ASSIGN_OR_RETURN(Value * out, ctx.OutInPlace(0, 0));
    const T* from = ctx.Data<T>(0).data();
    T* to = out->Mutable<T>().data();
    const int64_t lines = columns == 0 ? 0 : out->size() / columns;
    for (int64_t line = 0; line < lines; ++line, from += columns, to += columns) {
      const int64_t diagonal = line % rows + k;
      for (int64_t j = 0; j < columns; ++j) {
        const bool kept = upper ? j >= diagonal : j <= diagonal;
        to[j] = kept ? from[j] : T(0);
      }
    }
    return absl::OkStatus();
  });
}

// Running sums or products along the axis: out[i] = out[i - 1] fn in[i], of an exclusive one in[i -
// 1]; from the far end when reversed.
template <class T, class Fn>
void Accumulate(const T* in, int64_t outer, int64_t length, int64_t inner, bool exclusive,
                bool reverse, T first, T* out, const Fn& fn) {
  for (int64_t o = 0; o < outer; ++o) {
    for (int64_t step = 0; step < length; ++step) {
      const int64_t back = reverse ? inner : -inner;  // where the last one lies
      const int64_t at = (o * length + (reverse ? length - 1 - step : step)) * inner;
      for (int64_t j = at; j < at + inner; ++j) {
        if (step == 0) {
          out[j] = exclusive ? first : in[j];
        } else {
          out[j] = fn(out[j + back], in[exclusive ? j + back : j]);
        }
      }
    }
  }
}

absl::Status Cumulate(RunContext& ctx, bool product) {
  RETURN_IF_ERROR(CheckTensors(ctx, 2));
  const Value& in = ctx.In(0);
  ASSIGN_OR_RETURN(const std::vector<int64_t> axes, ctx.Ints(1));
  const auto rank = static_cast<int64_t>(in.dims.size());
  if (axes.size() != 1 || axes[0] < -rank || axes[0] >= rank) {
    return ctx.Error("axis must be one number, and name an axis of input 0");
  }
  const auto axis = static_cast<size_t>(axes[0] < 0 ? axes[0] + rank : axes[0]);
  const bool exclusive = ctx.node().IntAttribute("exclusive", 0) != 0;
  const bool reverse = ctx.node().IntAttribute("reverse", 0) != 0;
  int64_t outer = 1;
  for (size_t i = 0; i < axis; ++i) outer *= in.dims[i];
  int64_t inner = 1;
  for (size_t i = axis + 1; i < in.dims.size(); ++i) inner *= in.dims[i];
  ASSIGN_OR_RETURN(Value * out, ctx.Out(0, in.dtype, in.dims));
  return VisitNumber(ctx, in.dtype, [&](auto zero) {
    using T = decltype(zero);
    using Wide = typename std::conditional_t<std::is_integral_v<T>, std::make_unsigned<T>,
                                             std::type_identity<T>>::type;
    const T* from = in.As<T>().data();
    T* to = out->Mutable<T>().data();
    const auto fn = [product](T a, T b) {
      const auto x = static_cast<Wide>(a);
      const auto y = static_cast<Wide>(b);
      if constexpr (std::is_integral_v<T>) {
        const auto wide = static_cast<uint64_t>(x);
        return static_cast<T>(product ? wide * y : wide + y);
      } else {
        return product ? x * y : x + y;
      }
    };
    Accumulate(from, outer, in.dims[axis], inner, exclusive, reverse, T(product ? 1 : 0), to, fn);
    return absl::OkStatus();
  });
}

absl::Status CumSum(RunContext& ctx) { return Cumulate(ctx, false); }
absl::Status CumProd(RunContext& ctx) { return Cumulate(ctx, true); }

constexpr unsigned kReal = kComputesInFloat | kTakesDouble;

constexpr OpForward kForwards[] = {
    {"", "BlackmanWindow", BlackmanWindow},
    {"", "Constant", Constant},
    {"", "ConstantOfShape", ConstantOfShape},
    {"", "CumProd", CumProd, kReal},
    {"", "CumSum", CumSum, kReal},
    {"", "EyeLike", EyeLike},
    {"", "HammingWindow", HammingWindow},
    {"", "HannWindow", HannWindow},
    {"", "Range", Range, kReal},
    {"", "Shape", EmitInferred, kTakesBlocked},
    {"", "Size", EmitInferred, kTakesBlocked},
    {"", "Trilu", Trilu},
};

}  // namespace

std::span<const OpForward> GeneratorForwards() { return kForwards; }

}  // namespace lathe::engine
