// Where along an axis the largest or smallest element is: the first of equals, or the last one.
// Comparisons with NaN are false, so that a NaN is found only where it stands first. And
// determinants, by elimination with pivots in float64.
#include "worker/engine/ops/forward/arg_extreme.h"

#include <cmath>
#include <utility>
#include <vector>

#include "common/status_macros.h"
#include "worker/engine/ops/forward/elements.h"
#include "worker/engine/ops/op_context.h"

namespace lathe::engine {
namespace {

struct ArgAxis {
  int64_t rows;
  int64_t extent;  // >= 1
  int64_t block;   // elements after the axis
};

template <typename T, typename Beats>
void Find(const ArgAxis& axis, const T* x, int64_t* out, const Beats& beats) {
  std::vector<T> best(static_cast<size_t>(axis.block));
  for (int64_t row = 0; row < axis.rows; ++row) {
    const T* from = x + row * axis.extent * axis.block;
    int64_t* to = out + row * axis.block;
    if (axis.block == 1) {
      int64_t at = 0;
      for (int64_t k = 1; k < axis.extent; ++k) {
        if (beats(from[k], from[at])) at = k;
      }
      *to = at;
      continue;
    }
    for (int64_t i = 0; i < axis.block; ++i) {
      best[i] = from[i];
      to[i] = 0;
    }
    for (int64_t k = 1; k < axis.extent; ++k) {
      const T* line = from + k * axis.block;
      for (int64_t i = 0; i < axis.block; ++i) {
        const bool better = beats(line[i], best[i]);
        best[i] = better ? line[i] : best[i];
        to[i] = better ? k : to[i];
      }
    }
  }
}

template <typename T>
void FindAs(const RunContext& ctx, const ArgAxis& axis, int64_t* out) {
  const T* x = ctx.Data<T>(0).data();
  const bool last = ctx.node().IntAttribute("select_last_index", 0) != 0;
  if (ctx.node().op_type == "ArgMax") {
    if (last) return Find<T>(axis, x, out, [](T a, T b) { return a >= b; });
    return Find<T>(axis, x, out, [](T a, T b) { return a > b; });
  }
  if (last) return Find<T>(axis, x, out, [](T a, T b) { return a <= b; });
  return Find<T>(axis, x, out, [](T a, T b) { return a < b; });
}

// Of a square matrix, which is destroyed.
double Determinant(std::vector<double>& a, int64_t n) {
  double out = 1;
  for (int64_t k = 0; k < n; ++k) {
    int64_t pivot = k;
    for (int64_t i = k + 1; i < n; ++i) {
      if (std::fabs(a[i * n + k]) > std::fabs(a[pivot * n + k])) pivot = i;
    }
    if (a[pivot * n + k] == 0) return 0;
    if (pivot != k) {
      out = -out;
      for (int64_t j = k; j < n; ++j) std::swap(a[pivot * n + j], a[k * n + j]);
    }
    out *= a[k * n + k];
    for (int64_t i = k + 1; i < n; ++i) {
      const double factor = a[i * n + k] / a[k * n + k];
      for (int64_t j = k + 1; j < n; ++j) a[i * n + j] -= factor * a[k * n + j];
    }
  }
  return out;
}

}  // namespace

absl::Status RunArgExtreme(RunContext& ctx) {
  ASSIGN_OR_RETURN(Value * out, ctx.Out(0));
  const Shape& dims = ctx.In(0).dims;
  const auto axis = NormalAxis(ctx.node().IntAttribute("axis", 0),
                               static_cast<int64_t>(dims.size()));
  if (!axis) return ctx.Error("axis lies outside of the input's rank");
  const ArgAxis around = {ExtentProduct(dims, 0, *axis), dims[*axis],
                          ExtentProduct(dims, *axis + 1, dims.size())};
  if (out->size() == 0) return absl::OkStatus();
  if (around.extent == 0) return ctx.Error("an axis without elements has no extreme");
  int64_t* found = out->Mutable<int64_t>().data();
  switch (ctx.In(0).dtype) {
    case DType::kFloat:
      FindAs<float>(ctx, around, found);
      break;
    case DType::kDouble:
      FindAs<double>(ctx, around, found);
      break;
    case DType::kInt8:
      FindAs<int8_t>(ctx, around, found);
      break;
    case DType::kInt16:
      FindAs<int16_t>(ctx, around, found);
      break;
    case DType::kInt32:
      FindAs<int32_t>(ctx, around, found);
      break;
    case DType::kInt64:
      FindAs<int64_t>(ctx, around, found);
      break;
    case DType::kUint8:
      FindAs<uint8_t>(ctx, around, found);
      break;
    case DType::kUint16:
      FindAs<uint16_t>(ctx, around, found);
      break;
    case DType::kUint32:
      FindAs<uint32_t>(ctx, around, found);
      break;
    case DType::kUint64:
      FindAs<uint64_t>(ctx, around, found);
      break;
    default:
      return ctx.Error("it takes numbers");
  }
  return absl::OkStatus();
}

absl::Status RunDet(RunContext& ctx) {
  ASSIGN_OR_RETURN(Value * out, ctx.Out(0));
  const Value& in = ctx.In(0);
  const int64_t n = in.dims.back();
  if (in.dims[in.dims.size() - 2] != n) return ctx.Error("the matrices must be square");
  if (!IsFloat(in.dtype)) return ctx.Error("it takes floats");
  if (out->size() == 0) return absl::OkStatus();
  RETURN_IF_ERROR(ctx.Scratch(n * n * static_cast<int64_t>(sizeof(double))).status());
  std::vector<double> matrix(static_cast<size_t>(n * n));
  for (int64_t m = 0; m < out->size(); ++m) {
    for (int64_t i = 0; i < n * n; ++i) {
      matrix[i] = in.dtype == DType::kFloat ? static_cast<double>(in.As<float>()[m * n * n + i])
                                            : in.As<double>()[m * n * n + i];
    }
    const double value = Determinant(matrix, n);
    if (in.dtype == DType::kFloat) {
      out->Mutable<float>()[m] = static_cast<float>(value);
    } else {
      out->Mutable<double>()[m] = value;
    }
  }
  return absl::OkStatus();
}

}  // namespace lathe::engine
