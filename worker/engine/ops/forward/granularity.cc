#include "worker/engine/ops/forward/granularity.h"

#include <optional>

#include "absl/strings/str_cat.h"
#include "worker/engine/ops/forward/value_read.h"
#include "worker/engine/ops/op_context.h"

namespace lathe::engine {

std::vector<float> ReadFloats(const Value& value) {
  if (value.dtype == DType::kFloat) {
    const std::span<const float> all = value.As<float>();
    return {all.begin(), all.end()};
  }
  std::vector<float> out(static_cast<size_t>(value.size()));
  for (size_t i = 0; i < out.size(); ++i) {
    out[i] = static_cast<float>(ReadNumber(value, static_cast<int64_t>(i)));
  }
  return out;
}

absl::StatusOr<Granularity> ReadGranularity(const RunContext& ctx) {
  const Shape& dims = ctx.In(0).dims;
  const Value& scale = ctx.In(1);
  Granularity out;
  if (!ctx.In(0).IsTensor() || !scale.IsTensor()) return ctx.Error("it needs an input and a scale");
  if (ctx.Has(2) && ctx.In(2).size() != scale.size()) {
    return ctx.Error("the zero point must have the scale's shape");
  }
  if (scale.size() == 1) {
    out.inner = ctx.In(0).size();
    return out;
  }
  const auto rank = static_cast<int64_t>(dims.size());
  const int64_t given = ctx.node().IntAttribute("axis", 1);
  const std::optional<int64_t> axis = NormalAxis(given, rank);
  if (!axis) return ctx.Error(absl::StrCat("axis ", given, " does not lie in the input"));
  for (int64_t d = 0; d < *axis; ++d) out.outer = SaturatingMul(out.outer, dims[d]);
  out.extent = dims[*axis];
  for (int64_t d = *axis + 1; d < rank; ++d) out.inner = SaturatingMul(out.inner, dims[d]);
  const int64_t block = ctx.node().IntAttribute("block_size", 0);
  if (block < 0)
    return ctx.Error(absl::StrCat("block_size is ", block, "; it must not be negative"));
  if (block == 0) {
    if (scale.dims.size() != 1 || scale.dims[0] != out.extent) {
      return ctx.Error(absl::StrCat("the scale must be a scalar or have ", out.extent,
                                    " elements, one for each index of axis ", *axis));
    }
    out.kind = Granularity::Kind::kAxis;
    return out;
  }
  out.kind = Granularity::Kind::kBlocked;
  // A block longer than the axis is all of it.
  out.block = std::min(block, std::max<int64_t>(out.extent, 1));
  Shape wanted = dims;
  wanted[*axis] = (out.extent + out.block - 1) / out.block;
  if (scale.dims != wanted) {
    return ctx.Error(absl::StrCat("with block_size ", block,
                                  " the scale must have the input's shape, but ", wanted[*axis],
                                  " on axis ", *axis));
  }
  return out;
}

}  // namespace lathe::engine
