// Which elements of a tensor share a scale and a zero point.
#ifndef LATHE_WORKER_ENGINE_OPS_FORWARD_GRANULARITY_H_
#define LATHE_WORKER_ENGINE_OPS_FORWARD_GRANULARITY_H_

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "worker/engine/ops/forward/run_context.h"
#include "worker/engine/ops/op_context.h"

namespace lathe::engine {

// A tensor taken as [outer, extent, inner]; the scales as [1] (per tensor), [extent] (per axis) or
// [outer, ceil(extent / block), inner] (blocked).
struct Granularity {
  enum class Kind { kTensor, kAxis, kBlocked };
  Kind kind = Kind::kTensor;
  int64_t outer = 1;
  int64_t extent = 1;
  int64_t inner = 1;
  int64_t block = 1;

  // Cuts the elements into runs, in order: run(begin, count, s) where all share scale s,
  // each(begin, count, s) where element begin + i has scale s + i.
  template <typename Run, typename Each>
  void ForEach(Run run, Each each) const;
};

// For input 0 with the scales of input 1 and the zero points of input 2, by the node's axis and
// block_size. `Context` is a RunContext or a GradContext. INVALID_ARGUMENT when their shapes do not
// fit.
template <typename Context>
absl::StatusOr<Granularity> ReadGranularity(const Context& ctx);

// The elements of a numeric tensor as float32.
std::vector<float> ReadFloats(const Value& value);

template <typename Run, typename Each>
void Granularity::ForEach(Run run, Each each) const {
  if (kind == Kind::kTensor) {
    run(int64_t{0}, outer * extent * inner, int64_t{0});
    return;
  }
  // Without elements there may be any number of rows.
  if (extent == 0 || inner == 0) return;
  const bool blocked = kind == Kind::kBlocked;
  const int64_t blocks = (extent + block - 1) / block;
  for (int64_t o = 0; o < outer; ++o) {
    const int64_t row = o * extent;
    if (inner == 1 && !blocked) {
      each(row, extent, int64_t{0});
    } else if (inner == 1) {
      for (int64_t b = 0; b < blocks; ++b) {
        run(row + b * block, std::min(block, extent - b * block), o * blocks + b);
      }
    } else {
      for (int64_t a = 0; a < extent; ++a) {
        const int64_t begin = (row + a) * inner;
        if (blocked) {
          each(begin, inner, (o * blocks + a / block) * inner);
        } else {
          run(begin, inner, a);
        }
      }
    }
  }
}

template <typename Context>
absl::StatusOr<Granularity> ReadGranularity(const Context& ctx) {
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

#endif  // LATHE_WORKER_ENGINE_OPS_FORWARD_GRANULARITY_H_
