// Gather from data that is quantized by blocks along one axis:
//
//   out = (q - zero_point[block]) scale[block]
//
// data: [.., n, ..] of int4 or uint4, or of uint8 with 8 / bits values a byte along the last axis,
// low bits first; scales: as data, with ceil(n / block_size) along quantize_axis; zero_points: as
// scales, of the data's type and packed as the data is. Without them a zero point is 0, of uint8
// 2^(bits - 1).
#include "worker/engine/ops/forward/gather_block_quantized.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/engine/ops/forward/elements.h"
#include "worker/engine/ops/forward/value_read.h"
#include "worker/engine/ops/op_context.h"

namespace lathe::engine {
namespace {

// Quantized integers, several a byte along the last axis when they are stored as uint8.
struct Packed {
  const Value* value = nullptr;
  int64_t bits = 8;
  int64_t row = 1;  // integers along the last axis

  int64_t At(int64_t i) const {
    if (value->dtype != DType::kUint8) return ReadInteger(*value, i);
    const int64_t each = 8 / bits;
    const int64_t row_bytes = (row + each - 1) / each;
    const int64_t column = i % row;
    const auto byte = static_cast<uint8_t>(value->data[i / row * row_bytes + column / each]);
    return (byte >> (column % each * bits)) & ((1 << bits) - 1);
  }
};

}  // namespace

absl::Status RunGatherBlockQuantized(RunContext& ctx) {
  const Node& node = ctx.node();
  const Value& data = ctx.In(0);
  const Value& scales = ctx.In(2);
  const int64_t bits = node.IntAttribute("bits", 4);
  const int64_t block_size = node.IntAttribute("block_size", 128);
  if (!data.IsTensor() || !scales.IsTensor() || data.dims.empty()) {
    return ctx.Error("data and scales must be tensors with an axis");
  }
  const bool bytes = data.dtype == DType::kUint8;
  if (bytes ? bits != 2 && bits != 4 && bits != 8
            : data.dtype != DType::kInt4 && data.dtype != DType::kUint4) {
    return ctx.Unsupported("data must be int4, uint4, or uint8 of 2, 4 or 8 bits");
  }
  if (!IsFloat(scales.dtype)) return ctx.Error("scales must be of a float type");
  Shape dims = data.dims;
  if (bytes) dims.back() *= 8 / bits;
  const auto rank = static_cast<int64_t>(dims.size());
  const auto gather_axis = NormalAxis(node.IntAttribute("gather_axis", 0), rank);
  const auto quantize_axis = NormalAxis(node.IntAttribute("quantize_axis", 1), rank);
  if (!gather_axis || !quantize_axis || block_size < 1) {
    return ctx.Error("gather_axis and quantize_axis must lie within the rank, block_size be >= 1");
  }
  if (bytes && *gather_axis == rank - 1) {
    return ctx.Error("data packed into uint8 cannot be gathered along its last axis");
  }
  Shape block_dims = dims;
  block_dims[*quantize_axis] = (dims[*quantize_axis] - 1) / block_size + 1;
  if (scales.dims != block_dims) {
    return ctx.Error("scales must be shaped as data, with one for each block of quantize_axis");
  }
  Packed points = {&ctx.In(3), bits, block_dims.back()};
  if (ctx.Has(3)) {
    Shape wanted = block_dims;
    if (bytes) wanted.back() = (wanted.back() + 8 / bits - 1) / (8 / bits);
    if (points.value->dtype != data.dtype || points.value->dims != wanted) {
      return ctx.Error("zero_points must be of the data's type and one for each scale");
    }
  }
  const int64_t extent = dims[*gather_axis];
  ASSIGN_OR_RETURN(const std::vector<int64_t> indices, ReadIndices(ctx, 1, extent));
  ASSIGN_OR_RETURN(Value * out, ctx.Out(0));
  const Packed q = {&data, bits, dims.back()};
  const int64_t rows = ExtentProduct(dims, 0, *gather_axis);
  const int64_t block = ExtentProduct(dims, *gather_axis + 1, dims.size());
  const int64_t after = ExtentProduct(dims, *quantize_axis + 1, dims.size());
  const int64_t length = dims[*quantize_axis];
  const int64_t blocks = block_dims[*quantize_axis];
  const double fallback = bytes ? static_cast<double>(1 << (bits - 1)) : 0;
  int64_t at = 0;
  for (int64_t row = 0; row < rows; ++row) {
    for (const int64_t index : indices) {
      for (int64_t k = 0; k < block; ++k, ++at) {
        const int64_t from = (row * extent + index) * block + k;
        const int64_t set =
            (from / (after * length) * blocks + from / after % length / block_size) * after +
            from % after;
        const double zero = ctx.Has(3) ? static_cast<double>(points.At(set)) : fallback;
        const auto value =
            static_cast<float>((static_cast<double>(q.At(from)) - zero) * ReadNumber(scales, set));
        switch (out->dtype) {
          case DType::kFloat:
            out->Mutable<float>()[at] = value;
            break;
          case DType::kDouble:
            out->Mutable<double>()[at] = value;
            break;
          case DType::kFloat16:
            out->Mutable<uint16_t>()[at] = FloatToHalf(value);
            break;
          default:
            out->Mutable<uint16_t>()[at] = FloatToBfloat16(value);
            break;
        }
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace lathe::engine
