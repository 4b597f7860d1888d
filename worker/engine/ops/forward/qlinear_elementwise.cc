// QLinear operators that work element by element or along one axis.
//
// Of a single 8-bit input there are 256 values: those operators are tables. The outputs of the
// others are within one step of ONNX Runtime's, which rounds some intermediate values elsewhere.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <optional>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/engine/ops/forward/qlinear.h"
#include "worker/engine/ops/op_context.h"

namespace lathe::engine {
namespace {

// round(real / scale) + zero in the range of `dtype`, as its byte.
uint8_t Encode(DType dtype, float real, const Affine& to) {
  const auto zero = static_cast<float>(to.zero);
  uint8_t byte = 0;
  if (dtype == DType::kInt8) {
    int8_t q = 0;
    QuantizeRun(&real, 1, to.scale, zero, RangeOf<int8_t>(), &q);
    byte = static_cast<uint8_t>(q);
  } else {
    QuantizeRun(&real, 1, to.scale, zero, RangeOf<uint8_t>(), &byte);
  }
  return byte;
}

// What a byte of an int8 or uint8 tensor stands for.
float Decode(DType dtype, uint8_t byte, const Affine& from) {
  const int32_t q = dtype == DType::kInt8 ? int32_t{static_cast<int8_t>(byte)} : int32_t{byte};
  return static_cast<float>(q - from.zero) * from.scale;
}

absl::Status CheckByte(const RunContext& ctx, size_t i) {
  if (ctx.In(i).IsTensor() && IsByte(ctx.In(i).dtype)) return absl::OkStatus();
  return ctx.Error(absl::StrCat("input ", i, " must be int8 or uint8"));
}

using Table = std::array<uint8_t, 256>;

// fn of every value of `from`, in terms of `to`.
template <typename Fn>
Table MakeTable(DType dtype, const Affine& from, const Affine& to, Fn fn) {
  Table table{};
  for (int byte = 0; byte < 256; ++byte) {
    const float real = Decode(dtype, static_cast<uint8_t>(byte), from);
    table[static_cast<size_t>(byte)] = Encode(dtype, fn(real), to);
  }
  return table;
}

// X, X_scale, X_zero_point, Y_scale, Y_zero_point.
template <typename Fn>
absl::Status MapBytes(RunContext& ctx, Fn fn) {
  RETURN_IF_ERROR(CheckByte(ctx, 0));
  const DType dtype = ctx.In(0).dtype;
  ASSIGN_OR_RETURN(const Affine from, ReadAffine(ctx, 1, 2, dtype));
  ASSIGN_OR_RETURN(const Affine to, ReadAffine(ctx, 3, 4, dtype));
  const Table table = MakeTable(dtype, from, to, fn);
  const std::span<const uint8_t> x = ctx.Data<uint8_t>(0);
  ASSIGN_OR_RETURN(Value* const y, ctx.OutInPlace(0, 0));
  std::transform(x.begin(), x.end(), y->Mutable<uint8_t>().begin(),
                 [&table](uint8_t byte) { return table[byte]; });
  return absl::OkStatus();
}

// For each element of `out`, in order, the elements of operands that spread over it:
// fn(at, {index of the first, ...}).
template <size_t kOperands, typename Fn>
void ForEachBroadcast(const Shape& out, const std::array<const Shape*, kOperands>& operands,
                      Fn fn) {
  const size_t rank = out.size();
  std::array<std::vector<int64_t>, kOperands> steps;
  for (size_t o = 0; o < kOperands; ++o) {
    steps[o].assign(rank, 0);
    const std::vector<int64_t> strides = Strides(*operands[o]);
    const size_t missing = rank - operands[o]->size();
    for (size_t d = missing; d < rank; ++d) {
      if ((*operands[o])[d - missing] != 1) steps[o][d] = strides[d - missing];
    }
  }
  int64_t count = 1;
  for (const int64_t extent : out) count = SaturatingMul(count, extent);
  Shape index(rank, 0);
  std::array<int64_t, kOperands> at{};
  for (int64_t i = 0; i < count; ++i) {
    fn(i, at);
    for (size_t d = rank; d-- > 0;) {
      for (size_t o = 0; o < kOperands; ++o) at[o] += steps[o][d];
      if (++index[d] < out[d]) break;
      for (size_t o = 0; o < kOperands; ++o) at[o] -= steps[o][d] * out[d];
      index[d] = 0;
    }
  }
}

// A, A_scale, A_zero_point, B, B_scale, B_zero_point, C_scale, C_zero_point.
template <typename Fn>
absl::Status Combine(RunContext& ctx, Fn fn) {
  RETURN_IF_ERROR(CheckByte(ctx, 0));
  const DType dtype = ctx.In(0).dtype;
  if (ctx.In(3).dtype != dtype) return ctx.Error("A and B must be of one type");
  ASSIGN_OR_RETURN(const Affine a, ReadAffine(ctx, 1, 2, dtype));
  ASSIGN_OR_RETURN(const Affine b, ReadAffine(ctx, 4, 5, dtype));
  ASSIGN_OR_RETURN(const Affine c, ReadAffine(ctx, 6, 7, dtype));
  ASSIGN_OR_RETURN(Value* const y, ctx.Out(0));
  const std::span<const uint8_t> left = ctx.Data<uint8_t>(0);
  const std::span<const uint8_t> right = ctx.Data<uint8_t>(3);
  uint8_t* const out = y->Mutable<uint8_t>().data();
  std::array<float, 256> a_real{};
  std::array<float, 256> b_real{};
  for (size_t byte = 0; byte < 256; ++byte) {
    a_real[byte] = Decode(dtype, static_cast<uint8_t>(byte), a);
    b_real[byte] = Decode(dtype, static_cast<uint8_t>(byte), b);
  }
  // Runs of reals are rounded together.
  constexpr int64_t kRun = 256;
  std::array<float, kRun> reals{};
  const int64_t count = y->size();
  const auto flush = [&](int64_t end) {
    const int64_t begin = (end - 1) / kRun * kRun;
    const auto zero = static_cast<float>(c.zero);
    if (dtype == DType::kInt8) {
      QuantizeRun(reals.data(), end - begin, c.scale, zero, RangeOf<int8_t>(),
                  reinterpret_cast<int8_t*>(out) + begin);
    } else {
      QuantizeRun(reals.data(), end - begin, c.scale, zero, RangeOf<uint8_t>(), out + begin);
    }
  };
  const auto one = [&](int64_t i, float x, float y_real) {
    reals[static_cast<size_t>(i % kRun)] = fn(x, y_real);
    if (i % kRun == kRun - 1 || i == count - 1) flush(i + 1);
  };
  if (ctx.In(0).dims == ctx.In(3).dims) {
    for (int64_t i = 0; i < count; ++i) one(i, a_real[left[i]], b_real[right[i]]);
    return absl::OkStatus();
  }
  ForEachBroadcast<2>(y->dims, {&ctx.In(0).dims, &ctx.In(3).dims},
                      [&](int64_t i, const std::array<int64_t, 2>& at) {
                        one(i, a_real[left[at[0]]], b_real[right[at[1]]]);
                      });
  return absl::OkStatus();
}

}  // namespace

absl::Status QLinearAdd(RunContext& ctx) {
  return Combine(ctx, [](float a, float b) { return a + b; });
}

absl::Status QLinearMul(RunContext& ctx) {
  return Combine(ctx, [](float a, float b) { return a * b; });
}

absl::Status QLinearSigmoid(RunContext& ctx) {
  return MapBytes(ctx, [](float x) { return 1.0F / (1.0F + std::exp(-x)); });
}

absl::Status QLinearLeakyRelu(RunContext& ctx) {
  const float alpha = ctx.node().FloatAttribute("alpha", 0.01F);
  return MapBytes(ctx, [alpha](float x) { return x >= 0 ? x : alpha * x; });
}

// The node's `opset` is that of the Softmax it was made from: before 13 the axes from `axis` on are
// one.
absl::Status QLinearSoftmax(RunContext& ctx) {
  RETURN_IF_ERROR(CheckByte(ctx, 0));
  const DType dtype = ctx.In(0).dtype;
  ASSIGN_OR_RETURN(const Affine from, ReadAffine(ctx, 1, 2, dtype));
  ASSIGN_OR_RETURN(const Affine to, ReadAffine(ctx, 3, 4, dtype));
  const int64_t opset = ctx.node().IntAttribute("opset", 13);
  const Shape& dims = ctx.In(0).dims;
  const auto rank = static_cast<int64_t>(dims.size());
  const int64_t given = ctx.node().IntAttribute("axis", opset < 13 ? 1 : -1);
  const std::optional<int64_t> axis = NormalAxis(given, rank);
  if (!axis) return ctx.Error(absl::StrCat("axis ", given, " does not lie in the input"));
  int64_t length = dims[*axis];
  int64_t inner = 1;
  int64_t& joined = opset < 13 ? length : inner;
  for (int64_t d = *axis + 1; d < rank; ++d) joined = SaturatingMul(joined, dims[d]);
  const std::span<const uint8_t> x = ctx.Data<uint8_t>(0);
  ASSIGN_OR_RETURN(Value* const y, ctx.Out(0));
  uint8_t* const out = y->Mutable<uint8_t>().data();
  if (x.empty()) return absl::OkStatus();
  const int64_t groups = static_cast<int64_t>(x.size()) / length;
  std::vector<float> exps(static_cast<size_t>(length));
  for (int64_t group = 0; group < groups; ++group) {
    const int64_t begin = group / inner * length * inner + group % inner;
    float largest = -std::numeric_limits<float>::infinity();
    for (int64_t i = 0; i < length; ++i) {
      exps[i] = Decode(dtype, x[begin + i * inner], from);
      largest = std::max(largest, exps[i]);
    }
    float sum = 0;
    for (float& e : exps) {
      e = std::exp(e - largest);
      sum += e;
    }
    for (int64_t i = 0; i < length; ++i) out[begin + i * inner] = Encode(dtype, exps[i] / sum, to);
  }
  return absl::OkStatus();
}

// Y_scale, Y_zero_point, then for each piece its values, scale and zero point.
absl::Status QLinearConcat(RunContext& ctx) {
  if (ctx.input_count() < 5 || (ctx.input_count() - 2) % 3 != 0) {
    return ctx.Error("it needs a scale, a zero point and pieces of three inputs each");
  }
  ASSIGN_OR_RETURN(Value* const y, ctx.Out(0));
  const DType dtype = y->dtype;
  if (!IsByte(dtype)) return ctx.Error("its pieces must be int8 or uint8");
  ASSIGN_OR_RETURN(const Affine to, ReadAffine(ctx, 0, 1, dtype));
  const auto rank = static_cast<int64_t>(y->dims.size());
  const int64_t axis = NormalAxis(ctx.node().IntAttribute("axis", 0), rank).value_or(0);
  int64_t inner = 1;
  for (int64_t d = axis + 1; d < rank; ++d) inner = SaturatingMul(inner, y->dims[d]);
  const int64_t row = SaturatingMul(y->dims[axis], inner);
  uint8_t* const out = y->Mutable<uint8_t>().data();
  int64_t offset = 0;
  for (size_t i = 2; i < ctx.input_count(); i += 3) {
    const Value& piece = ctx.In(i);
    Shape expected = y->dims;
    expected[axis] = static_cast<int64_t>(piece.dims.size()) == rank ? piece.dims[axis] : -1;
    if (piece.dtype != dtype || piece.dims != expected) {
      return ctx.Error(absl::StrCat("input ", i, " does not fit the first piece"));
    }
    ASSIGN_OR_RETURN(const Affine from, ReadAffine(ctx, i + 1, i + 2, dtype));
    const Table table = MakeTable(dtype, from, to, [](float x) { return x; });
    const int64_t width = SaturatingMul(piece.dims[axis], inner);
    const std::span<const uint8_t> x = piece.As<uint8_t>();
    for (int64_t at = 0, r = 0; at < static_cast<int64_t>(x.size()); at += width, ++r) {
      for (int64_t j = 0; j < width; ++j) out[r * row + offset + j] = table[x[at + j]];
    }
    offset += width;
  }
  return absl::OkStatus();
}

// condition, X, x_scale, x_zero_point, Y, y_scale, y_zero_point, z_scale, z_zero_point.
absl::Status QLinearWhere(RunContext& ctx) {
  RETURN_IF_ERROR(CheckByte(ctx, 1));
  const DType dtype = ctx.In(1).dtype;
  if (ctx.In(4).dtype != dtype || ctx.In(0).dtype != DType::kBool) {
    return ctx.Error("X and Y must be of one type, and the condition bool");
  }
  ASSIGN_OR_RETURN(const Affine x, ReadAffine(ctx, 2, 3, dtype));
  ASSIGN_OR_RETURN(const Affine y, ReadAffine(ctx, 5, 6, dtype));
  ASSIGN_OR_RETURN(const Affine z, ReadAffine(ctx, 7, 8, dtype));
  ASSIGN_OR_RETURN(Value* const result, ctx.Out(0));
  const auto same = [](float real) { return real; };
  const Table x_table = MakeTable(dtype, x, z, same);
  const Table y_table = MakeTable(dtype, y, z, same);
  const std::span<const uint8_t> condition = ctx.Data<uint8_t>(0);
  const std::span<const uint8_t> x_data = ctx.Data<uint8_t>(1);
  const std::span<const uint8_t> y_data = ctx.Data<uint8_t>(4);
  uint8_t* const out = result->Mutable<uint8_t>().data();
  ForEachBroadcast<3>(result->dims, {&ctx.In(0).dims, &ctx.In(1).dims, &ctx.In(4).dims},
                      [&](int64_t i, const std::array<int64_t, 3>& at) {
                        out[i] =
                            condition[at[0]] != 0 ? x_table[x_data[at[1]]] : y_table[y_data[at[2]]];
                      });
  return absl::OkStatus();
}

}  // namespace lathe::engine
