// Products of quantized matrices: exact sums in int32, and then what each operator makes of them.
//
//   acc[r, c] = sum_k (a[r, k] - za[r]) (b[k, c] - zb[c])
//   MatMulInteger          acc
//   QLinearMatMul, QGemm   saturate(round(acc sa sb / sy) + zy)
//   the others             acc sa sb + bias
#include <algorithm>
#include <functional>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/engine/kernels/dynamic_range.h"
#include "worker/engine/kernels/integer_product.h"
#include "worker/engine/ops/forward/granularity.h"
#include "worker/engine/ops/forward/qlinear.h"
#include "worker/engine/ops/op_context.h"

namespace lathe::engine {
namespace {

// Rows of the left operand worked on at a time.
constexpr int64_t kRows = 64;

// The right operand, centred and packed, when it is a constant of the model.
struct PackedRight : NodeState {
  std::vector<int16_t> matrices;
};

// A stack of matrices of 8-bit integers.
struct Operand {
  const void* data = nullptr;
  DType dtype = DType::kUint8;
  Shape dims;  // [..., rows, columns], at least two
  bool transposed = false;
  Lines<int32_t> zeros;

  int64_t rows() const { return dims[dims.size() - (transposed ? 1 : 2)]; }
  int64_t columns() const { return dims[dims.size() - (transposed ? 2 : 1)]; }
  int64_t elements() const { return dims[dims.size() - 1] * dims[dims.size() - 2]; }
  int64_t row_stride() const { return transposed ? 1 : dims.back(); }
  int64_t column_stride() const { return transposed ? dims.back() : 1; }
  Shape batch() const { return {dims.begin(), dims.end() - 2}; }
};

// Input `i` with the zero points of input `zero`. A vector is a row on the left, a column on the
// right. The shape rule has seen that the operands fit.
absl::StatusOr<Operand> ReadOperand(const RunContext& ctx, size_t i, size_t zero, bool left,
                                    bool transposed = false) {
  const Value& value = ctx.In(i);
  if (!value.IsTensor() || !IsByte(value.dtype)) {
    if (value.dtype == DType::kFloat8E4M3FN || value.dtype == DType::kFloat8E4M3FNUZ ||
        value.dtype == DType::kFloat8E5M2 || value.dtype == DType::kFloat8E5M2FNUZ) {
      return ctx.Unsupported("products of 8-bit floats are not computed");
    }
    return ctx.Error(absl::StrCat("input ", i, " must be int8 or uint8"));
  }
  Operand operand;
  operand.data = value.data;
  operand.dtype = value.dtype;
  operand.dims = value.dims;
  operand.transposed = transposed;
  if (operand.dims.size() == 1)
    operand.dims.insert(left ? operand.dims.begin() : operand.dims.end(), 1);
  if (operand.dims.size() < 2) return ctx.Error(absl::StrCat("input ", i, " has no axes"));
  const size_t rows = operand.dims.size() - (transposed ? 1 : 2);
  const size_t columns = operand.dims.size() - (transposed ? 2 : 1);
  ASSIGN_OR_RETURN(operand.zeros, ReadZeroLines(ctx, zero, value.dtype, operand.dims,
                                                left ? rows : columns, left ? columns : rows));
  return operand;
}

// Of output matrix `at` in a stack [out], which matrix of an operand's stack [batch] it comes from.
int64_t MatrixNumber(const Shape& batch, const Shape& out, int64_t at) {
  int64_t number = 0;
  int64_t stride = 1;
  const size_t missing = out.size() - batch.size();
  for (size_t d = out.size(); d-- > missing;) {
    const int64_t extent = batch[d - missing];
    if (extent != 1) number += at % out[d] * stride;
    stride *= extent;
    at /= out[d];
  }
  return number;
}

int64_t Count(const Shape& dims) {
  int64_t count = 1;
  for (const int64_t extent : dims) count = SaturatingMul(count, extent);
  return count;
}

// What is done with the sums of some rows: sums [rows, n] of output matrix `matrix`, from row
// `first` on. `a` and `b` are the operands' matrices.
struct Rows {
  int64_t matrix = 0;
  int64_t a = 0;
  int64_t b = 0;
  int64_t first = 0;
  int64_t count = 0;
  int32_t* sums = nullptr;
};

// `keep_right`: input b and its zero points are constants; what is packed is kept.
absl::Status Multiply(RunContext& ctx, Operand a, const Operand& b, bool keep_right,
                      const std::function<void(const Rows&)>& take) {
  const std::optional<Shape> batch = Broadcast(a.batch(), b.batch());
  if (!batch || a.columns() != b.rows()) return ctx.Error("the matrices do not fit together");
  const int64_t m = a.rows();
  const int64_t n = b.columns();
  const int64_t k = a.columns();
  const int64_t matrices = Count(*batch);
  // Past this no extent but k may be 0, and so their products are those of tensors that exist.
  if (matrices == 0 || m == 0 || n == 0) return absl::OkStatus();

  const int64_t packed_elements = PackedElements(k, n);
  const auto pack = [&](int64_t matrix, int16_t* to) {
    VisitBytes(b.dtype, b.data, [&](const auto* data) {
      PackRight(data + matrix * b.elements(), k, n, b.row_stride(), b.column_stride(),
                b.zeros.Of(matrix), b.zeros.step, to);
    });
  };
  std::shared_ptr<Buffer> packed;
  int16_t* kept = nullptr;
  if (keep_right) {
    auto& state = ctx.State<PackedRight>();
    if (state.matrices.empty() && packed_elements > 0) {
      const int64_t stack = Count(b.batch());
      state.matrices.resize(static_cast<size_t>(stack * packed_elements));
      for (int64_t i = 0; i < stack; ++i) pack(i, state.matrices.data() + i * packed_elements);
    }
    kept = state.matrices.data();
  } else {
    ASSIGN_OR_RETURN(packed, ctx.Scratch(packed_elements * 2));
  }
  const int64_t chunk = std::min(kRows, m);
  ASSIGN_OR_RETURN(const std::shared_ptr<Buffer> left, ctx.Scratch(chunk * LeftStride(k) * 2));
  ASSIGN_OR_RETURN(const std::shared_ptr<Buffer> sums, ctx.Scratch(chunk * n * 4));
  auto* const left_data = reinterpret_cast<int16_t*>(left->data());
  auto* const sum_data = reinterpret_cast<int32_t*>(sums->data());
  int64_t in_scratch = -1;
  for (int64_t i = 0; i < matrices; ++i) {
    const int64_t a_number = MatrixNumber(a.batch(), *batch, i);
    const int64_t b_number = MatrixNumber(b.batch(), *batch, i);
    const int16_t* right = kept + (kept != nullptr ? b_number * packed_elements : 0);
    if (kept == nullptr && packed != nullptr) {
      auto* const to = reinterpret_cast<int16_t*>(packed->data());
      if (in_scratch != b_number) pack(b_number, to);
      in_scratch = b_number;
      right = to;
    }
    for (int64_t first = 0; first < m; first += chunk) {
      const int64_t count = std::min(chunk, m - first);
      VisitBytes(a.dtype, a.data, [&](const auto* data) {
        PackLeft(data + a_number * a.elements() + first * a.row_stride(), count, k, a.row_stride(),
                 a.column_stride(), a.zeros.Of(a_number) + first * a.zeros.step, a.zeros.step,
                 left_data);
      });
      IntegerProduct(count, n, k, left_data, right, sum_data, n);
      take({i, a_number, b_number, first, count, sum_data});
    }
  }
  return absl::OkStatus();
}

// A stack of matrices on the left of a single one is one matrix: fewer and larger products.
void JoinRows(Operand& a, const Operand& b, bool single_row_values) {
  if (b.dims.size() != 2 || a.transposed || !single_row_values || !a.zeros.single()) return;
  const int64_t rows = Count({a.dims.begin(), a.dims.end() - 1});
  a.dims = {rows, a.dims.back()};
}

bool IsKept(const RunContext& ctx, size_t b, size_t zero) {
  return ctx.IsConstant(b) && (!ctx.Has(zero) || ctx.IsConstant(zero));
}

// multipliers[c] = alpha sa sb[c] for row `row`, divided by sy where there is one. In that order,
// as ONNX Runtime does.
struct Multipliers {
  float alpha = 1;
  Lines<float> a;
  Lines<float> b;
  std::optional<Lines<float>> y;

  bool single() const { return a.single() && b.single() && (!y || y->single()); }
  void Fill(const Rows& rows, int64_t row, std::span<float> out) const {
    const float left = alpha * a.Of(rows.a)[row * a.step];
    const float* right = b.Of(rows.b);
    for (size_t c = 0; c < out.size(); ++c) {
      out[c] = left * right[static_cast<int64_t>(c) * b.step];
    }
    if (!y) return;
    const float divisor = y->Of(rows.matrix)[row * y->step];
    for (float& m : out) m /= divisor;
  }
};

// Requantizes rows of sums into y [matrices, m, n].
template <typename T>
void RequantizeRows(const Rows& rows, int64_t m, int64_t n, const Multipliers& multipliers,
                    const Lines<int32_t>& zeros, std::vector<float>& line, T* y) {
  line.resize(static_cast<size_t>(multipliers.b.single() ? 1 : n));
  for (int64_t r = 0; r < rows.count; ++r) {
    const int64_t row = rows.first + r;
    if (r == 0 || !multipliers.single()) multipliers.Fill(rows, row, line);
    const auto zero = static_cast<float>(zeros.Of(rows.matrix)[row * zeros.step]);
    T* to = y + (rows.matrix * m + row) * n;
    if (line.size() == 1) {
      RequantizeRun(rows.sums + r * n, n, line[0], zero, RangeOf<T>(), to);
    } else {
      RequantizeEach(rows.sums + r * n, n, line.data(), zero, RangeOf<T>(), to);
    }
  }
}

// Scales rows of sums into y, and adds a bias [n] or none.
void ScaleRows(const Rows& rows, int64_t m, int64_t n, const Multipliers& multipliers,
               std::span<const float> bias, std::vector<float>& line, float* y) {
  line.resize(static_cast<size_t>(n));
  for (int64_t r = 0; r < rows.count; ++r) {
    const int64_t row = rows.first + r;
    if (r == 0 || !multipliers.single()) multipliers.Fill(rows, row, line);
    const int32_t* sums = rows.sums + r * n;
    float* to = y + (rows.matrix * m + row) * n;
    for (int64_t c = 0; c < n; ++c) to[c] = static_cast<float>(sums[c]) * line[c];
    if (bias.empty()) continue;
    for (int64_t c = 0; c < n; ++c) to[c] += bias[c];
  }
}

absl::StatusOr<std::span<const float>> ReadBias(const RunContext& ctx, size_t i, int64_t n) {
  if (!ctx.Has(i)) return std::span<const float>();
  if (ctx.In(i).dtype != DType::kFloat || ctx.In(i).size() != n) {
    return ctx.Error(absl::StrCat("the bias must be ", n, " float32 numbers"));
  }
  return ctx.Data<float>(i);
}

// The last two axes of an operand, as ReadScaleLines wants them.
absl::StatusOr<Lines<float>> RowScales(const RunContext& ctx, size_t i, const Operand& a) {
  return ReadScaleLines(ctx, i, a.dims, a.dims.size() - 2, a.dims.size() - 1);
}
absl::StatusOr<Lines<float>> ColumnScales(const RunContext& ctx, size_t i, const Operand& b) {
  const size_t rank = b.dims.size();
  return b.transposed ? ReadScaleLines(ctx, i, b.dims, rank - 2, rank - 1)
                      : ReadScaleLines(ctx, i, b.dims, rank - 1, rank - 2);
}

}  // namespace

absl::Status MatMulInteger(RunContext& ctx) {
  ASSIGN_OR_RETURN(Value* const y, ctx.Out(0));
  ASSIGN_OR_RETURN(Operand a, ReadOperand(ctx, 0, 2, true));
  ASSIGN_OR_RETURN(const Operand b, ReadOperand(ctx, 1, 3, false));
  JoinRows(a, b, true);
  int32_t* const out = y->Mutable<int32_t>().data();
  const int64_t m = a.rows();
  const int64_t n = b.columns();
  return Multiply(ctx, a, b, IsKept(ctx, 1, 3), [&](const Rows& rows) {
    std::copy_n(rows.sums, rows.count * n, out + (rows.matrix * m + rows.first) * n);
  });
}

absl::Status QLinearMatMul(RunContext& ctx) {
  ASSIGN_OR_RETURN(Value* const y, ctx.Out(0));
  ASSIGN_OR_RETURN(Operand a, ReadOperand(ctx, 0, 2, true));
  ASSIGN_OR_RETURN(const Operand b, ReadOperand(ctx, 3, 5, false));
  if (!IsByte(y->dtype)) return ctx.Error("the output's zero point must be int8 or uint8");
  Shape out_dims = y->dims;
  if (ctx.In(0).dims.size() == 1)
    out_dims.insert(out_dims.end() - (ctx.In(3).dims.size() == 1 ? 0 : 1), 1);
  if (ctx.In(3).dims.size() == 1) out_dims.push_back(1);
  const size_t rank = out_dims.size();
  Multipliers multipliers;
  ASSIGN_OR_RETURN(multipliers.a, RowScales(ctx, 1, a));
  ASSIGN_OR_RETURN(multipliers.b, ColumnScales(ctx, 4, b));
  ASSIGN_OR_RETURN(multipliers.y, ReadScaleLines(ctx, 6, out_dims, rank - 2, rank - 1));
  ASSIGN_OR_RETURN(const Lines<int32_t> zeros,
                   ReadZeroLines(ctx, 7, y->dtype, out_dims, rank - 2, rank - 1));
  JoinRows(a, b, multipliers.a.single() && multipliers.y->single() && zeros.single());
  const int64_t m = a.rows();
  const int64_t n = b.columns();
  std::vector<float> line;
  return Multiply(ctx, a, b, IsKept(ctx, 3, 5), [&](const Rows& rows) {
    if (y->dtype == DType::kInt8) {
      RequantizeRows(rows, m, n, multipliers, zeros, line, y->Mutable<int8_t>().data());
    } else {
      RequantizeRows(rows, m, n, multipliers, zeros, line, y->Mutable<uint8_t>().data());
    }
  });
}

// A, B, a_scale, b_scale, a_zero_point, b_zero_point, bias.
absl::Status MatMulIntegerToFloat(RunContext& ctx) {
  ASSIGN_OR_RETURN(Value* const y, ctx.Out(0));
  ASSIGN_OR_RETURN(Operand a, ReadOperand(ctx, 0, 4, true));
  ASSIGN_OR_RETURN(const Operand b, ReadOperand(ctx, 1, 5, false));
  Multipliers multipliers;
  ASSIGN_OR_RETURN(multipliers.a, RowScales(ctx, 2, a));
  ASSIGN_OR_RETURN(multipliers.b, ColumnScales(ctx, 3, b));
  ASSIGN_OR_RETURN(const std::span<const float> bias, ReadBias(ctx, 6, b.columns()));
  JoinRows(a, b, multipliers.a.single());
  const int64_t m = a.rows();
  const int64_t n = b.columns();
  std::vector<float> line;
  return Multiply(ctx, a, b, IsKept(ctx, 1, 5), [&](const Rows& rows) {
    ScaleRows(rows, m, n, multipliers, bias, line, y->Mutable<float>().data());
  });
}

// A (float32), B, b_scale, b_zero_point, bias: A is quantized as DynamicQuantizeLinear does.
absl::Status DynamicQuantizeMatMul(RunContext& ctx) {
  const Value& real = ctx.In(0);
  if (real.dtype != DType::kFloat) return ctx.Error("A must be float32");
  ASSIGN_OR_RETURN(Value* const y, ctx.Out(0));
  const DynamicRange range = FindDynamicRange(real.As<float>().data(), real.size());
  ASSIGN_OR_RETURN(const std::shared_ptr<Buffer> bytes, ctx.Scratch(real.size()));
  QuantizeRun(real.As<float>().data(), real.size(), range.scale,
              static_cast<float>(range.zero_point), RangeOf<uint8_t>(),
              reinterpret_cast<uint8_t*>(bytes->data()));
  Operand a;
  a.data = bytes->data();
  a.dims = real.dims;
  if (a.dims.size() == 1) a.dims.insert(a.dims.begin(), 1);
  a.zeros.values = {range.zero_point};
  ASSIGN_OR_RETURN(const Operand b, ReadOperand(ctx, 1, 3, false));
  Multipliers multipliers;
  multipliers.a.values = {range.scale};
  ASSIGN_OR_RETURN(multipliers.b, ColumnScales(ctx, 2, b));
  ASSIGN_OR_RETURN(const std::span<const float> bias, ReadBias(ctx, 4, b.columns()));
  JoinRows(a, b, true);
  const int64_t m = a.rows();
  const int64_t n = b.columns();
  std::vector<float> line;
  return Multiply(ctx, a, b, IsKept(ctx, 1, 3), [&](const Rows& rows) {
    ScaleRows(rows, m, n, multipliers, bias, line, y->Mutable<float>().data());
  });
}

// A, a_scale, a_zero_point, B, b_scale, b_zero_point, C (int32), y_scale, y_zero_point.
absl::Status QGemm(RunContext& ctx) {
  ASSIGN_OR_RETURN(Value* const y, ctx.Out(0));
  const bool trans_a = ctx.node().IntAttribute("transA", 0) != 0;
  const bool trans_b = ctx.node().IntAttribute("transB", 0) != 0;
  ASSIGN_OR_RETURN(const Operand a, ReadOperand(ctx, 0, 2, true, trans_a));
  ASSIGN_OR_RETURN(const Operand b, ReadOperand(ctx, 3, 5, false, trans_b));
  const int64_t m = a.rows();
  const int64_t n = b.columns();
  Multipliers multipliers;
  multipliers.alpha = ctx.node().FloatAttribute("alpha", 1);
  ASSIGN_OR_RETURN(const Affine a_affine, ReadAffine(ctx, 1, 2, a.dtype));
  multipliers.a.values = {a_affine.scale};
  ASSIGN_OR_RETURN(multipliers.b, ColumnScales(ctx, 4, b));
  const Value& bias = ctx.In(6);
  Shape bias_dims = {1, 1};
  if (ctx.Has(6)) {
    const std::optional<Shape> fits = Broadcast(bias.dims, {m, n});
    if (bias.dtype != DType::kInt32 || !fits || *fits != Shape({m, n})) {
      return ctx.Error(absl::StrCat("C must be int32 and spread over [", m, ", ", n, "]"));
    }
    std::copy_backward(bias.dims.begin(), bias.dims.end(), bias_dims.end());
  }
  const auto add_bias = [&](const Rows& rows) {
    if (!ctx.Has(6)) return;
    const int64_t row_step = bias_dims[0] == 1 ? 0 : bias_dims[1];
    const int64_t column_step = bias_dims[1] == 1 ? 0 : 1;
    const int32_t* c = bias.As<int32_t>().data();
    for (int64_t r = 0; r < rows.count; ++r) {
      for (int64_t j = 0; j < n; ++j) {
        auto& sum = rows.sums[r * n + j];
        sum = static_cast<int32_t>(
            static_cast<uint32_t>(sum) +
            static_cast<uint32_t>(c[(rows.first + r) * row_step + j * column_step]));
      }
    }
  };
  std::vector<float> line;
  if (!ctx.Has(7)) {
    if (y->dtype != DType::kFloat) return ctx.Error("y_zero_point is given without y_scale");
    return Multiply(ctx, a, b, IsKept(ctx, 3, 5), [&](const Rows& rows) {
      add_bias(rows);
      ScaleRows(rows, m, n, multipliers, {}, line, y->Mutable<float>().data());
    });
  }
  if (!IsByte(y->dtype)) return ctx.Error("y_zero_point must be int8 or uint8");
  ASSIGN_OR_RETURN(const Affine affine, ReadAffine(ctx, 7, 8, y->dtype));
  Lines<float> y_scale;
  y_scale.values = {affine.scale};
  multipliers.y = std::move(y_scale);
  Lines<int32_t> zeros;
  zeros.values = {affine.zero};
  return Multiply(ctx, a, b, IsKept(ctx, 3, 5), [&](const Rows& rows) {
    add_bias(rows);
    if (y->dtype == DType::kInt8) {
      RequantizeRows(rows, m, n, multipliers, zeros, line, y->Mutable<int8_t>().data());
    } else {
      RequantizeRows(rows, m, n, multipliers, zeros, line, y->Mutable<uint8_t>().data());
    }
  });
}

}  // namespace lathe::engine
