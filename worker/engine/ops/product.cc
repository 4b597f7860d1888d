// Matrix products. Multiply-accumulates: output elements times the length of the reduction.
#include "worker/engine/ops/op_rules.h"

namespace lathe::engine {
namespace {

// Numpy's matmul: vectors count as a row on the left, a column on the right.
std::optional<Shape> MatMulDims(Shape a, Shape b) {
  if (a.empty() || b.empty()) return std::nullopt;
  const bool row = a.size() == 1;
  const bool column = b.size() == 1;
  if (row) a.insert(a.begin(), 1);
  if (column) b.push_back(1);
  const int64_t m = a[a.size() - 2];
  const int64_t n = b.back();
  if (a.back() != b[b.size() - 2]) return std::nullopt;
  std::optional<Shape> out =
      Broadcast(Shape(a.begin(), a.end() - 2), Shape(b.begin(), b.end() - 2));
  if (!out) return std::nullopt;
  if (!row) out->push_back(m);
  if (!column) out->push_back(n);
  return out;
}

bool Product(OpContext& ctx, size_t a, size_t b, DType dtype) {
  if (!ctx.Ranked(a) || !ctx.Ranked(b)) return false;
  std::optional<Shape> dims = MatMulDims(ctx.Dims(a), ctx.Dims(b));
  if (!dims) return false;
  ctx.Set(0, dtype, *std::move(dims));
  return true;
}

std::optional<MacCount> Count(const OpContext& ctx, int64_t reduction, MacType type) {
  if (ctx.output_count() < 1 || !ctx.Out(0).ranked) return std::nullopt;
  return MacCount{SaturatingMul(ctx.Out(0).size(), reduction), type};
}

// The operands of com.microsoft FusedMatMul, transposed as its attributes say.
std::optional<Shape> Transposed(const OpContext& ctx, size_t i, const char* attribute) {
  if (!ctx.Ranked(i)) return std::nullopt;
  Shape dims = ctx.Dims(i);
  if (ctx.node().IntAttribute(attribute, 0) != 0 && dims.size() >= 2) {
    std::swap(dims[dims.size() - 1], dims[dims.size() - 2]);
  }
  return dims;
}

bool GemmDims(OpContext& ctx, size_t a, size_t b, DType dtype) {
  if (!ctx.Ranked(a) || !ctx.Ranked(b) || ctx.Rank(a) != 2 || ctx.Rank(b) != 2) return false;
  const bool trans_a = ctx.node().IntAttribute("transA", 0) != 0;
  const bool trans_b = ctx.node().IntAttribute("transB", 0) != 0;
  if (ctx.Dims(a)[trans_a ? 0 : 1] != ctx.Dims(b)[trans_b ? 1 : 0]) return false;
  ctx.Set(0, dtype, {ctx.Dims(a)[trans_a ? 1 : 0], ctx.Dims(b)[trans_b ? 0 : 1]});
  return true;
}

std::optional<MacCount> GemmCount(const OpContext& ctx, MacType type) {
  if (!ctx.Ranked(0) || ctx.Rank(0) != 2) return std::nullopt;
  return Count(ctx, ctx.Dims(0)[ctx.node().IntAttribute("transA", 0) != 0 ? 0 : 1], type);
}

}  // namespace

MacType ProductType(const OpContext& ctx, size_t a, size_t b) {
  if (ctx.In(a).dequantized && ctx.In(b).dequantized) return MacType::kInt8;
  const DType dtype = ctx.In(a).dtype;
  if (dtype == DType::kFloat16 || dtype == DType::kBfloat16) return MacType::kFloat16;
  if (dtype == DType::kInt8 || dtype == DType::kUint8) return MacType::kInt8;
  return MacType::kFloat32;
}

bool InferMatMul(OpContext& ctx) { return Product(ctx, 0, 1, ctx.In(0).dtype); }

bool InferMatMulInteger(OpContext& ctx) { return Product(ctx, 0, 1, DType::kInt32); }

bool InferMatMulIntegerToFloat(OpContext& ctx) { return Product(ctx, 0, 1, DType::kFloat); }

bool InferQLinearMatMul(OpContext& ctx) {
  return Product(ctx, 0, 3, ctx.Has(7) ? ctx.In(7).dtype : ctx.In(0).dtype);
}

bool InferFusedMatMul(OpContext& ctx) {
  const auto a = Transposed(ctx, 0, "transA");
  const auto b = Transposed(ctx, 1, "transB");
  if (!a || !b || ctx.node().IntAttribute("transBatchA", 0) != 0 ||
      ctx.node().IntAttribute("transBatchB", 0) != 0) {
    return false;
  }
  std::optional<Shape> dims = MatMulDims(*a, *b);
  if (!dims) return false;
  ctx.Set(0, ctx.In(0).dtype, *std::move(dims));
  return true;
}

bool InferGemm(OpContext& ctx) { return GemmDims(ctx, 0, 1, ctx.In(0).dtype); }

// com.microsoft QGemm: A, its scale and zero point, B, its scale and zero point, C, the output's.
bool InferQGemm(OpContext& ctx) {
  return GemmDims(ctx, 0, 3, ctx.Has(8) ? ctx.In(8).dtype : DType::kFloat);
}

bool InferMatMulNBits(OpContext& ctx) {
  const int64_t k = ctx.node().IntAttribute("K", 0);
  const int64_t n = ctx.node().IntAttribute("N", 0);
  if (!ctx.Ranked(0) || ctx.Rank(0) < 1 || ctx.Dims(0).back() != k) return false;
  Shape dims = ctx.Dims(0);
  dims.back() = n;
  ctx.Set(0, ctx.In(0).dtype, std::move(dims));
  return true;
}

std::optional<MacCount> MacsMatMul(const OpContext& ctx) {
  if (!ctx.Ranked(0) || ctx.Rank(0) < 1) return std::nullopt;
  return Count(ctx, ctx.Dims(0).back(), ProductType(ctx, 0, 1));
}

std::optional<MacCount> MacsMatMulInteger(const OpContext& ctx) {
  if (!ctx.Ranked(0) || ctx.Rank(0) < 1) return std::nullopt;
  return Count(ctx, ctx.Dims(0).back(), MacType::kInt8);
}

std::optional<MacCount> MacsFusedMatMul(const OpContext& ctx) {
  const auto a = Transposed(ctx, 0, "transA");
  if (!a || a->empty()) return std::nullopt;
  return Count(ctx, a->back(), ProductType(ctx, 0, 1));
}

std::optional<MacCount> MacsGemm(const OpContext& ctx) {
  return GemmCount(ctx, ProductType(ctx, 0, 1));
}

std::optional<MacCount> MacsQGemm(const OpContext& ctx) { return GemmCount(ctx, MacType::kInt8); }

std::optional<MacCount> MacsMatMulNBits(const OpContext& ctx) {
  if (!ctx.Ranked(0) || ctx.Rank(0) < 1) return std::nullopt;
  // Level 4 lets the runtime round the activations to 8 bits and multiply integers.
  const bool integers = ctx.node().IntAttribute("accuracy_level", 0) == 4;
  return Count(ctx, ctx.Dims(0).back(), integers ? MacType::kInt8 : ProductType(ctx, 0, 0));
}

}  // namespace lathe::engine
