// The same elements under another shape (no copy), or in another order.
#include <numeric>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/engine/kernels/strided_move.h"
#include "worker/engine/ops/forward/elements.h"
#include "worker/engine/ops/forward/forward.h"
#include "worker/engine/ops/op_context.h"

namespace lathe::engine {
namespace {

// Reshape, Flatten, Squeeze, Unsqueeze: the shape rule is all there is to compute.
absl::Status RunReshaped(RunContext& ctx) {
  if (!ctx.In(0).IsTensor()) return ctx.Error("input 0 must be a tensor");
  ASSIGN_OR_RETURN(const ValueFact* fact, ctx.Inferred(0));
  Value out = ctx.In(0);
  out.dims = fact->dims;
  ctx.Set(0, std::move(out));
  return absl::OkStatus();
}

// Moves input 0, seen as `dims`, to output 0 with its axes in the order `perm`; the output's own
// shape is the rule's, of as many elements.
absl::Status Permute(RunContext& ctx, const Shape& dims, const std::vector<int64_t>& perm) {
  ASSIGN_OR_RETURN(const Elements in, ReadElements(ctx, 0));
  ASSIGN_OR_RETURN(ElementsOut out, ElementsOut::Make(ctx, 0));
  const std::vector<int64_t> strides = Strides(dims);
  StridedMove move;
  for (const int64_t axis : perm) {
    move.extents.push_back(dims[axis]);
    move.from_strides.push_back(strides[axis]);
  }
  move.to_strides = Strides(move.extents);
  MoveStrided(move, in.width, in.data, out.data());
  return out.Finish(ctx);
}

absl::Status RunTranspose(RunContext& ctx) {
  // The rule has checked that perm is a permutation.
  ASSIGN_OR_RETURN(const ValueFact* fact, ctx.Inferred(0));
  const Shape& dims = ctx.In(0).dims;
  std::vector<int64_t> perm = ctx.node().IntsAttribute("perm");
  if (ctx.node().FindAttribute("perm") == nullptr) {
    perm.resize(dims.size());
    std::iota(perm.rbegin(), perm.rend(), int64_t{0});
  }
  // Where only axes of one element change places, the elements stay where they are.
  int64_t last = -1;
  bool stays = true;
  for (const int64_t axis : perm) {
    if (dims[axis] == 1) continue;
    stays = stays && axis > last;
    last = axis;
  }
  if (stays) {
    Value out = ctx.In(0);
    out.dims = fact->dims;
    ctx.Set(0, std::move(out));
    return absl::OkStatus();
  }
  return Permute(ctx, dims, perm);
}

absl::Status RunDepthToSpace(RunContext& ctx) {
  RETURN_IF_ERROR(ctx.Inferred(0).status());
  const Shape& in = ctx.In(0).dims;
  const int64_t block = ctx.node().IntAttribute("blocksize", 0);
  const int64_t channels = in[1] / (block * block);
  const std::string mode = ctx.node().StringAttribute("mode", "DCR");
  if (mode == "DCR") {
    return Permute(ctx, {in[0], block, block, channels, in[2], in[3]}, {0, 3, 4, 1, 5, 2});
  }
  if (mode == "CRD") {
    return Permute(ctx, {in[0], channels, block, block, in[2], in[3]}, {0, 1, 4, 2, 5, 3});
  }
  return ctx.Error(absl::StrCat("mode must be DCR or CRD, not '", mode, "'"));
}

absl::Status RunSpaceToDepth(RunContext& ctx) {
  RETURN_IF_ERROR(ctx.Inferred(0).status());
  const Shape& in = ctx.In(0).dims;
  const int64_t block = ctx.node().IntAttribute("blocksize", 0);
  const Shape split = {in[0], in[1], in[2] / block, block, in[3] / block, block};
  const std::string mode = ctx.node().StringAttribute("mode", "DCR");
  if (mode == "DCR") return Permute(ctx, split, {0, 3, 5, 1, 2, 4});
  if (mode == "CRD") return Permute(ctx, split, {0, 1, 3, 5, 2, 4});
  return ctx.Error(absl::StrCat("mode must be DCR or CRD, not '", mode, "'"));
}

constexpr OpForward kForwards[] = {
    {"", "DepthToSpace", RunDepthToSpace}, {"", "Flatten", RunReshaped},
    {"", "Reshape", RunReshaped},          {"", "SpaceToDepth", RunSpaceToDepth},
    {"", "Squeeze", RunReshaped},          {"", "Transpose", RunTranspose},
    {"", "Unsqueeze", RunReshaped},
};

}  // namespace

std::span<const OpForward> LayoutForwards() { return kForwards; }

}  // namespace lathe::engine
