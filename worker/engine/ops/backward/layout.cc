// The same elements under another shape, or in another order: gradients move back.
#include <numeric>
#include <string>
#include <vector>

#include "common/status_macros.h"
#include "worker/engine/kernels/strided_move.h"
#include "worker/engine/ops/backward/backward.h"
#include "worker/engine/ops/op_context.h"

namespace lathe::engine {
namespace {

// Reshape, Flatten, Squeeze, Unsqueeze.
absl::Status ReshapedGrad(GradContext& ctx) {
  if (ctx.Wants(0)) ctx.Pass(0, 0);
  return absl::OkStatus();
}

// Of an operator that moves input 0, seen as `dims`, to output 0 with its axes in the order `perm`.
absl::Status MoveBack(GradContext& ctx, const Shape& dims, const std::vector<int64_t>& perm) {
  if (!ctx.Wants(0)) return absl::OkStatus();
  const std::vector<int64_t> strides = Strides(dims);
  StridedMove move;
  for (const int64_t axis : perm) {
    move.extents.push_back(dims[axis]);
    move.to_strides.push_back(strides[axis]);
  }
  move.from_strides = Strides(move.extents);
  ASSIGN_OR_RETURN(const std::span<float> out, ctx.Emit(0));
  if (out.empty()) return absl::OkStatus();
  MoveStrided(move, sizeof(float), ctx.GradValue(0).data, reinterpret_cast<char*>(out.data()));
  return absl::OkStatus();
}

absl::Status TransposeGrad(GradContext& ctx) {
  const Shape& dims = ctx.Dims(0);
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
  return stays ? ReshapedGrad(ctx) : MoveBack(ctx, dims, perm);
}

absl::Status DepthToSpaceGrad(GradContext& ctx) {
  const Shape& in = ctx.Dims(0);
  const int64_t block = ctx.node().IntAttribute("blocksize", 0);
  const int64_t channels = in[1] / (block * block);
  if (ctx.node().StringAttribute("mode", "DCR") == "CRD") {
    return MoveBack(ctx, {in[0], channels, block, block, in[2], in[3]}, {0, 1, 4, 2, 5, 3});
  }
  return MoveBack(ctx, {in[0], block, block, channels, in[2], in[3]}, {0, 3, 4, 1, 5, 2});
}

absl::Status SpaceToDepthGrad(GradContext& ctx) {
  const Shape& in = ctx.Dims(0);
  const int64_t block = ctx.node().IntAttribute("blocksize", 0);
  const Shape split = {in[0], in[1], in[2] / block, block, in[3] / block, block};
  if (ctx.node().StringAttribute("mode", "DCR") == "CRD") {
    return MoveBack(ctx, split, {0, 1, 3, 5, 2, 4});
  }
  return MoveBack(ctx, split, {0, 3, 5, 1, 2, 4});
}

// Integers of a quantized value may lie on the way as well as reals.
constexpr OpBackward Moved(const char* op, absl::Status (*run)(GradContext&)) {
  return {"", op, run, kReadsNothing, kReadsNothing, kThroughIntegers};
}

constexpr OpBackward kTable[] = {
    Moved("DepthToSpace", DepthToSpaceGrad), Moved("Flatten", ReshapedGrad),
    Moved("Reshape", ReshapedGrad),          Moved("SpaceToDepth", SpaceToDepthGrad),
    Moved("Squeeze", ReshapedGrad),          Moved("Transpose", TransposeGrad),
    Moved("Unsqueeze", ReshapedGrad),
};

}  // namespace

std::span<const OpBackward> LayoutBackwards() { return kTable; }

}  // namespace lathe::engine
