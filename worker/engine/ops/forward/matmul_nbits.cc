// com.microsoft MatMulNBits: Y = A W^T + bias, where W [N, K] is stored in 2, 4 or 8 bits, in
// blocks of block_size along K.
//
//   W[n, k] = (q[n, k] - zero[n, k / block]) scale[n, k / block]
//
// packed low bits first; zero is 2^(bits - 1) when not given. accuracy_level lets a runtime round A
// to 8 bits; here the product is always one of floats.
#include <memory>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/engine/linalg/strided_product.h"
#include "worker/engine/ops/forward/granularity.h"
#include "worker/engine/ops/forward/qlinear.h"
#include "worker/engine/ops/op_context.h"

namespace lathe::engine {
namespace {

struct Weights : NodeState {
  std::vector<float> rows;  // [N, K]
};

struct Format {
  int64_t n = 0;
  int64_t k = 0;
  int64_t bits = 4;
  int64_t block = 32;

  int64_t blocks() const { return (k + block - 1) / block; }
  int64_t block_bytes() const { return block * bits / 8; }
  int64_t zero_bytes() const { return (blocks() * bits + 7) / 8; }  // of a row
};

absl::StatusOr<Format> ReadFormat(const RunContext& ctx) {
  const Node& node = ctx.node();
  Format format;
  format.n = node.IntAttribute("N", 0);
  format.k = node.IntAttribute("K", 0);
  format.bits = node.IntAttribute("bits", 4);
  format.block = node.IntAttribute("block_size", 0);
  if (format.bits != 2 && format.bits != 4 && format.bits != 8) {
    return ctx.Unsupported(absl::StrCat("weights of ", format.bits, " bits; 2, 4 and 8 are known"));
  }
  if (format.n < 1 || format.k < 1 || format.n > kMaxExtent || format.k > kMaxExtent ||
      format.block < 16 || format.block > kMaxExtent || (format.block & (format.block - 1)) != 0) {
    return ctx.Error(absl::StrCat("N ", format.n, ", K ", format.k, " or block_size ", format.block,
                                  " is out of range: block_size is a power of two from 16"));
  }
  const int64_t bytes =
      SaturatingMul(SaturatingMul(format.n, format.blocks()), format.block_bytes());
  if (ctx.In(1).dtype != DType::kUint8 || ctx.In(1).size() != bytes) {
    return ctx.Error(absl::StrCat("B must be ", bytes, " uint8"));
  }
  if (ctx.In(2).dtype != DType::kFloat || ctx.In(2).size() != format.n * format.blocks()) {
    return ctx.Error(absl::StrCat("scales must be ", format.n * format.blocks(), " floats"));
  }
  return format;
}

// Zero points [N, blocks], packed or floats.
absl::StatusOr<std::vector<float>> ReadZeros(const RunContext& ctx, const Format& format) {
  const int64_t count = format.n * format.blocks();
  if (!ctx.Has(3)) {
    return std::vector<float>(static_cast<size_t>(count),
                              static_cast<float>(int64_t{1} << (format.bits - 1)));
  }
  const Value& value = ctx.In(3);
  if (value.dtype == DType::kFloat && value.size() == count) return ReadFloats(value);
  if (value.dtype != DType::kUint8 || value.size() != format.n * format.zero_bytes()) {
    return ctx.Error(absl::StrCat("zero_points must be ", format.n * format.zero_bytes(),
                                  " uint8 or ", count, " floats"));
  }
  std::vector<float> zeros(static_cast<size_t>(count));
  const std::span<const uint8_t> packed = value.As<uint8_t>();
  const int64_t mask = (int64_t{1} << format.bits) - 1;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t bit = i % format.blocks() * format.bits;
    const int64_t byte = packed[i / format.blocks() * format.zero_bytes() + bit / 8];
    zeros[i] = static_cast<float>((byte >> (bit % 8)) & mask);
  }
  return zeros;
}

absl::Status Decode(const RunContext& ctx, const Format& format, float* rows) {
  ASSIGN_OR_RETURN(const std::vector<float> zeros, ReadZeros(ctx, format));
  const std::span<const uint8_t> packed = ctx.Data<uint8_t>(1);
  const std::span<const float> scales = ctx.Data<float>(2);
  // Which block's scale an element of a row has.
  std::vector<int64_t> group(static_cast<size_t>(format.k));
  for (int64_t k = 0; k < format.k; ++k) group[k] = k / format.block;
  if (ctx.Has(4) && ctx.In(4).size() > 0) {
    ASSIGN_OR_RETURN(const std::vector<int64_t> given, ctx.Ints(4));
    if (static_cast<int64_t>(given.size()) < format.k) {
      return ctx.Error(absl::StrCat("g_idx must have ", format.k, " elements"));
    }
    for (int64_t k = 0; k < format.k; ++k) {
      if (given[k] < 0 || given[k] >= format.blocks()) {
        return ctx.Error(
            absl::StrCat("g_idx ", given[k], " is not a block: there are ", format.blocks()));
      }
      group[k] = given[k];
    }
  }
  const int64_t mask = (int64_t{1} << format.bits) - 1;
  const int64_t row_bytes = format.blocks() * format.block_bytes();
  for (int64_t n = 0; n < format.n; ++n) {
    const uint8_t* from = packed.data() + n * row_bytes;
    const float* scale = scales.data() + n * format.blocks();
    const float* zero = zeros.data() + n * format.blocks();
    for (int64_t k = 0; k < format.k; ++k) {
      const int64_t bit = k * format.bits;
      const auto q = static_cast<float>((from[bit / 8] >> (bit % 8)) & mask);
      rows[n * format.k + k] = (q - zero[group[k]]) * scale[group[k]];
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status MatMulNBits(RunContext& ctx) {
  ASSIGN_OR_RETURN(const Format format, ReadFormat(ctx));
  ASSIGN_OR_RETURN(Value* const y, ctx.Out(0));
  if (ctx.In(0).dtype != DType::kFloat) return ctx.Error("A must be a tensor of floats");
  if (ctx.Has(5) && (ctx.In(5).dtype != DType::kFloat || ctx.In(5).size() != format.n)) {
    return ctx.Error(absl::StrCat("the bias must be ", format.n, " floats"));
  }
  bool constant = true;
  for (size_t i = 1; i < 5; ++i) constant = constant && (!ctx.Has(i) || ctx.IsConstant(i));
  std::shared_ptr<Buffer> scratch;
  const float* rows = nullptr;
  if (constant) {
    auto& state = ctx.State<Weights>();
    if (state.rows.empty()) {
      std::vector<float> decoded(static_cast<size_t>(format.n * format.k));
      RETURN_IF_ERROR(Decode(ctx, format, decoded.data()));
      state.rows = std::move(decoded);
    }
    rows = state.rows.data();
  } else {
    ASSIGN_OR_RETURN(scratch, ctx.Scratch(format.n * format.k * 4));
    auto* const decoded = reinterpret_cast<float*>(scratch->data());
    RETURN_IF_ERROR(Decode(ctx, format, decoded));
    rows = decoded;
  }
  const int64_t m = ctx.In(0).size() / format.k;
  float* const out = y->Mutable<float>().data();
  MultiplyStrided(Side::kTransposed, m, format.n, format.k, 1,
                  {ctx.Data<float>(0).data(), format.k}, {rows, format.k}, out, format.n);
  if (!ctx.Has(5)) return absl::OkStatus();
  const std::span<const float> bias = ctx.Data<float>(5);
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t n = 0; n < format.n; ++n) out[i * format.n + n] += bias[n];
  }
  return absl::OkStatus();
}

}  // namespace lathe::engine
