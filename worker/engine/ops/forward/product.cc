// MatMul, Gemm, and their fused forms: y = activation(alpha op(a) op(b) + bias).
#include "worker/engine/ops/forward/product.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/engine/kernels/backend.h"
#include "worker/engine/ops/forward/forward.h"
#include "worker/engine/ops/post_op_attributes.h"

namespace lathe::engine {
namespace {

// Constant right operands of more matrices than this are not kept packed.
constexpr int64_t kMaxPackedMatrices = 256;

struct ProductState : NodeState {
  std::unique_ptr<GemmKernel> kernel;
};

// The offset of every matrix of the broadcast batch, in matrices of the operand.
std::vector<int64_t> BatchOffsets(const Shape& batch, Shape operand) {
  operand.insert(operand.begin(), batch.size() - operand.size(), 1);
  std::vector<int64_t> strides = Strides(operand);
  std::vector<int64_t> offsets;
  int64_t count = 1;
  for (const int64_t extent : batch) count *= extent;
  offsets.reserve(static_cast<size_t>(count));
  Shape index(batch.size(), 0);
  for (int64_t i = 0; i < count; ++i) {
    int64_t offset = 0;
    for (size_t a = 0; a < batch.size(); ++a) {
      if (operand[a] != 1) offset += index[a] * strides[a];
    }
    offsets.push_back(offset);
    for (size_t a = batch.size(); a-- > 0;) {
      if (++index[a] < batch[a]) break;
      index[a] = 0;
    }
  }
  return offsets;
}

// Plain loops, for types without a kernel; integers wrap around.
template <typename T>
void NaiveProduct(const MatrixProduct& p, int64_t batch_a, int64_t batch_b, int64_t batch_c,
                  const void* a_data, const void* b_data, void* c_data) {
  using Sum =
      std::conditional_t<std::is_integral_v<T>,
                         std::make_unsigned_t<std::conditional_t<std::is_integral_v<T>, T, int>>,
                         T>;
  // Narrow unsigned types would be promoted to int, whose overflow is undefined.
  using Wide = std::conditional_t<std::is_integral_v<T>, uint64_t, Sum>;
  const T* a = static_cast<const T*>(a_data) + batch_a * p.m * p.k;
  const T* b = static_cast<const T*>(b_data) + batch_b * p.k * p.n;
  T* c = static_cast<T*>(c_data) + batch_c * p.m * p.n;
  std::vector<Wide> row(static_cast<size_t>(p.n));
  for (int64_t i = 0; i < p.m; ++i) {
    std::fill(row.begin(), row.end(), Wide{0});
    for (int64_t k = 0; k < p.k; ++k) {
      const auto left = static_cast<Wide>(p.trans_a ? a[k * p.m + i] : a[i * p.k + k]);
      const T* right = p.trans_b ? b + k : b + k * p.n;
      const int64_t step = p.trans_b ? p.k : 1;
      for (int64_t j = 0; j < p.n; ++j) {
        row[static_cast<size_t>(j)] += left * static_cast<Wide>(right[j * step]);
      }
    }
    for (int64_t j = 0; j < p.n; ++j) {
      c[i * p.n + j] = static_cast<T>(row[static_cast<size_t>(j)]);
    }
  }
}

using Naive = void (*)(const MatrixProduct&, int64_t, int64_t, int64_t, const void*, const void*,
                       void*);
Naive NaiveFor(DType dtype) {
  switch (dtype) {
    case DType::kDouble:
      return NaiveProduct<double>;
    case DType::kInt8:
    case DType::kUint8:
      return NaiveProduct<uint8_t>;
    case DType::kInt16:
    case DType::kUint16:
      return NaiveProduct<uint16_t>;
    case DType::kInt32:
    case DType::kUint32:
      return NaiveProduct<uint32_t>;
    case DType::kInt64:
    case DType::kUint64:
      return NaiveProduct<uint64_t>;
    default:
      return nullptr;
  }
}

absl::Status CheckOperands(const RunContext& ctx) {
  if (!ctx.In(0).IsTensor() || !ctx.In(1).IsTensor()) {
    return ctx.Error("both operands must be tensors");
  }
  if (ctx.In(0).dtype != ctx.In(1).dtype) return ctx.Error("the operands have different types");
  return absl::OkStatus();
}

// Input 2 of the fused forms: [n].
absl::Status ReadBias(const RunContext& ctx, int64_t n, const float** bias) {
  if (!ctx.Has(2)) return absl::OkStatus();
  if (ctx.In(2).dtype != DType::kFloat || ctx.In(2).dims != Shape{n}) {
    return ctx.Error(absl::StrCat("the bias must be float32[", n, "]"));
  }
  *bias = ctx.Data<float>(2).data();
  return absl::OkStatus();
}

absl::Status RunMatMul(RunContext& ctx, bool fused) {
  RETURN_IF_ERROR(CheckOperands(ctx));
  MatrixProduct p;
  Shape a = ctx.In(0).dims;
  Shape b = ctx.In(1).dims;
  if (fused) {
    if (ctx.node().IntAttribute("transBatchA", 0) != 0 ||
        ctx.node().IntAttribute("transBatchB", 0) != 0) {
      return ctx.Unsupported("transposed batches");
    }
    p.trans_a = ctx.node().IntAttribute("transA", 0) != 0 && a.size() >= 2;
    p.trans_b = ctx.node().IntAttribute("transB", 0) != 0 && b.size() >= 2;
    p.alpha = ctx.node().FloatAttribute("alpha", 1.0f);
    const std::optional<PostOp> post_op = ReadPostOp(ctx.node());
    if (!post_op) return ctx.Unsupported("an activation that is not known");
    p.post_op = *post_op;
  }
  ASSIGN_OR_RETURN(Value * y, ctx.Out(0));
  if (a.size() == 1) a.insert(a.begin(), 1);
  if (b.size() == 1) b.push_back(1);
  p.m = a[a.size() - (p.trans_a ? 1 : 2)];
  p.k = a[a.size() - (p.trans_a ? 2 : 1)];
  p.n = b[b.size() - (p.trans_b ? 2 : 1)];
  RETURN_IF_ERROR(ReadBias(ctx, p.n, &p.bias));
  p.a_batch.assign(a.begin(), a.end() - 2);
  p.b_batch.assign(b.begin(), b.end() - 2);
  return RunMatrixProduct(ctx, p, *y);
}

absl::Status MatMul(RunContext& ctx) { return RunMatMul(ctx, false); }
absl::Status FusedMatMul(RunContext& ctx) { return RunMatMul(ctx, true); }

// c [m, n] := value of a bias that broadcasts to it, times beta.
template <typename T>
void SpreadBias(const Value& bias, double beta, int64_t m, int64_t n, T* c) {
  const int64_t rows = bias.dims.size() == 2 ? bias.dims[0] : 1;
  const int64_t columns = bias.dims.empty() ? 1 : bias.dims.back();
  const T* from = bias.As<T>().data();
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < n; ++j) {
      const T value = from[(rows == 1 ? 0 : i) * columns + (columns == 1 ? 0 : j)];
      c[i * n + j] = static_cast<T>(beta * static_cast<double>(value));
    }
  }
}

template <typename T>
absl::Status GemmNaive(RunContext& ctx, const MatrixProduct& p, double alpha, double beta,
                       Value& y) {
  std::vector<T> product(static_cast<size_t>(p.m * p.n));
  NaiveProduct<T>(p, 0, 0, 0, ctx.In(0).data, ctx.In(1).data, product.data());
  T* c = y.Mutable<T>().data();
  if (ctx.Has(2)) {
    SpreadBias<T>(ctx.In(2), beta, p.m, p.n, c);
  } else {
    std::fill_n(c, p.m * p.n, T{0});
  }
  for (size_t i = 0; i < product.size(); ++i) {
    c[i] = static_cast<T>(c[i] + static_cast<T>(alpha * static_cast<double>(product[i])));
  }
  return absl::OkStatus();
}

absl::Status Gemm(RunContext& ctx) {
  RETURN_IF_ERROR(CheckOperands(ctx));
  const std::optional<PostOp> post_op = ReadPostOp(ctx.node());
  if (!post_op) return ctx.Unsupported("an activation that is not known");
  ASSIGN_OR_RETURN(Value * y, ctx.Out(0));
  MatrixProduct p;
  p.trans_a = ctx.node().IntAttribute("transA", 0) != 0;
  p.trans_b = ctx.node().IntAttribute("transB", 0) != 0;
  p.alpha = ctx.node().FloatAttribute("alpha", 1.0f);
  p.post_op = *post_op;
  p.m = y->dims[0];
  p.n = y->dims[1];
  p.k = ctx.In(0).dims[p.trans_a ? 0 : 1];
  const float beta = ctx.node().FloatAttribute("beta", 1.0f);
  if (ctx.Has(2)) {
    const Shape& bias = ctx.In(2).dims;
    const std::optional<Shape> together = Broadcast(bias, y->dims);
    if (!together || *together != y->dims || ctx.In(2).dtype != y->dtype) {
      return ctx.Error("C does not broadcast to the result, or has another type");
    }
  }
  if (y->dtype != DType::kFloat) {
    switch (y->dtype) {
      case DType::kDouble:
        return GemmNaive<double>(ctx, p, p.alpha, beta, *y);
      case DType::kInt32:
        return GemmNaive<int32_t>(ctx, p, p.alpha, beta, *y);
      case DType::kUint32:
        return GemmNaive<uint32_t>(ctx, p, p.alpha, beta, *y);
      case DType::kInt64:
        return GemmNaive<int64_t>(ctx, p, p.alpha, beta, *y);
      case DType::kUint64:
        return GemmNaive<uint64_t>(ctx, p, p.alpha, beta, *y);
      default:
        return ctx.Unsupported(absl::StrCat("products of ", DTypeName(y->dtype)));
    }
  }
  if (ctx.Has(2)) {
    const Shape& bias = ctx.In(2).dims;
    if (beta == 1.0f && ctx.In(2).size() == p.n && (bias.size() == 1 || bias[0] == 1)) {
      p.bias = ctx.Data<float>(2).data();
    } else {
      SpreadBias<float>(ctx.In(2), beta, p.m, p.n, y->Mutable<float>().data());
      p.accumulate = true;
    }
  }
  return RunMatrixProduct(ctx, p, *y);
}

constexpr OpForward kForwards[] = {
    {"", "Gemm", Gemm, kComputesInFloat | kTakesDouble},
    {"", "MatMul", MatMul, kComputesInFloat | kTakesDouble},
    {"com.microsoft", "FusedGemm", Gemm, kComputesInFloat},
    {"com.microsoft", "FusedMatMul", FusedMatMul, kComputesInFloat},
    {"com.microsoft", "TransposeMatMul", FusedMatMul, kComputesInFloat},
    {"lathe", "Gemm", Gemm, kComputesInFloat},
    {"lathe", "MatMul", FusedMatMul, kComputesInFloat | kTakesDouble},
};

}  // namespace

absl::Status RunMatrixProduct(RunContext& ctx, const MatrixProduct& p, Value& y) {
  const std::optional<Shape> batch = Broadcast(p.a_batch, p.b_batch);
  if (!batch) return ctx.Error("the batches do not broadcast");
  if (y.size() == 0) return absl::OkStatus();
  int64_t b_matrices = 1;
  for (const int64_t extent : p.b_batch) b_matrices *= extent;
  int64_t a_matrices = 1;
  for (const int64_t extent : p.a_batch) a_matrices *= extent;
  if (y.dtype != DType::kFloat) {
    const Naive naive = NaiveFor(y.dtype);
    if (naive == nullptr || p.alpha != 1.0f || p.bias != nullptr ||
        p.post_op.kind != PostOp::Kind::kNone) {
      return ctx.Unsupported(absl::StrCat("products of ", DTypeName(y.dtype)));
    }
    const std::vector<int64_t> a_at = BatchOffsets(*batch, p.a_batch);
    const std::vector<int64_t> b_at = BatchOffsets(*batch, p.b_batch);
    for (size_t i = 0; i < a_at.size(); ++i) {
      naive(p, a_at[i], b_at[i], static_cast<int64_t>(i), ctx.In(0).data, ctx.In(1).data,
            y.buffer->data());
    }
    return absl::OkStatus();
  }
  auto& state = ctx.State<ProductState>();
  if (state.kernel == nullptr) state.kernel = ctx.backend().MakeGemm();
  GemmArgs g;
  g.trans_a = p.trans_a;
  g.trans_b = p.trans_b;
  g.m = p.m;
  g.n = p.n;
  g.k = p.k;
  g.alpha = p.alpha;
  g.bias = p.bias;
  g.accumulate = p.accumulate;
  g.post_op = p.post_op;
  const float* a = ctx.Data<float>(0).data();
  const float* b = ctx.Data<float>(1).data();
  const bool keep = ctx.IsConstant(1) && b_matrices <= kMaxPackedMatrices;
  float* c = y.Mutable<float>().data();
  if (b_matrices == 1 && (!p.trans_a || a_matrices == 1)) {
    // One right operand for all: the batch is more rows.
    g.m = p.m * a_matrices;
    g.a = a;
    g.b = b;
    g.b_slot = keep ? 0 : -1;
    g.c = c;
    return state.kernel->Run(g);
  }
  const std::vector<int64_t> a_at = BatchOffsets(*batch, p.a_batch);
  const std::vector<int64_t> b_at = BatchOffsets(*batch, p.b_batch);
  for (size_t i = 0; i < a_at.size(); ++i) {
    g.a = a + a_at[i] * p.m * p.k;
    g.b = b + b_at[i] * p.k * p.n;
    g.b_slot = keep ? b_at[i] : -1;
    g.c = c + static_cast<int64_t>(i) * p.m * p.n;
    RETURN_IF_ERROR(state.kernel->Run(g));
  }
  return absl::OkStatus();
}

std::span<const OpForward> ProductForwards() { return kForwards; }

}  // namespace lathe::engine
