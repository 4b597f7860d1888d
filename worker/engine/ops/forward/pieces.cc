// Values joined, cut and repeated. Padding is in pad.cc.
#include <algorithm>
#include <cstring>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/engine/kernels/strided_move.h"
#include "worker/engine/ops/forward/elements.h"
#include "worker/engine/ops/forward/forward.h"
#include "worker/engine/ops/forward/pad.h"
#include "worker/engine/ops/forward/slice_view.h"
#include "worker/engine/ops/op_context.h"

namespace lathe::engine {
namespace {

// Copies `rows` runs of `bytes`, whose starts lie `from_step` and `to_step` bytes apart.
void CopyRuns(int64_t rows, int64_t bytes, const char* from, int64_t from_step, char* to,
              int64_t to_step) {
  if (bytes == 0) return;
  for (int64_t r = 0; r < rows; ++r) {
    std::memcpy(to + r * to_step, from + r * from_step, static_cast<size_t>(bytes));
  }
}

absl::Status RunConcat(RunContext& ctx) {
  ASSIGN_OR_RETURN(ElementsOut out, ElementsOut::Make(ctx, 0));
  const auto rank = static_cast<int64_t>(out.dims().size());
  const auto axis = NormalAxis(ctx.node().IntAttribute("axis", 0), rank);
  if (!axis) return ctx.Error("axis lies outside of the inputs' rank");
  const int64_t rows = ExtentProduct(out.dims(), 0, *axis);
  const int64_t block = ExtentProduct(out.dims(), *axis + 1, rank) * out.width();
  char* to = out.data();
  // Strings are pointed to until the end.
  std::vector<Elements> parts;
  for (size_t i = 0; i < ctx.input_count(); ++i) {
    ASSIGN_OR_RETURN(Elements in, ReadElements(ctx, i));
    if (in.dtype != ctx.In(0).dtype) return ctx.Error("the inputs must be of one type");
    const int64_t bytes = in.dims[*axis] * block;
    CopyRuns(rows, bytes, in.data, bytes, to, out.dims()[*axis] * block);
    to += bytes;
    if (in.held != nullptr) parts.push_back(std::move(in));
  }
  return out.Finish(ctx);
}

absl::Status RunSplit(RunContext& ctx) {
  ASSIGN_OR_RETURN(const Elements in, ReadElements(ctx, 0));
  const auto rank = static_cast<int64_t>(in.dims.size());
  const auto axis = NormalAxis(ctx.node().IntAttribute("axis", 0), rank);
  if (!axis) return ctx.Error("axis lies outside of the input's rank");
  const int64_t asked = ctx.node().IntAttribute("num_outputs", 0);
  if (asked != 0 && asked != static_cast<int64_t>(ctx.output_count())) {
    return ctx.Error(
        absl::StrCat("num_outputs is ", asked, ", but it has ", ctx.output_count(), " outputs"));
  }
  const int64_t rows = ExtentProduct(in.dims, 0, *axis);
  const int64_t block = ExtentProduct(in.dims, *axis + 1, rank) * in.width;
  int64_t start = 0;
  for (size_t i = 0; i < ctx.output_count(); ++i) {
    ASSIGN_OR_RETURN(const ValueFact* fact, ctx.Inferred(i));
    const int64_t extent = fact->dims[*axis];
    if (ctx.Wants(i)) {
      ASSIGN_OR_RETURN(ElementsOut out, ElementsOut::Make(ctx, i));
      CopyRuns(rows, extent * block, in.data + start * block, in.dims[*axis] * block, out.data(),
               extent * block);
      RETURN_IF_ERROR(out.Finish(ctx));
    }
    start += extent;
  }
  if (start != in.dims[*axis]) {
    return ctx.Error(
        absl::StrCat("the pieces have ", start, " elements of the axis's ", in.dims[*axis]));
  }
  return absl::OkStatus();
}

absl::Status RunSlice(RunContext& ctx) {
  ASSIGN_OR_RETURN(const Elements in, ReadElements(ctx, 0));
  ASSIGN_OR_RETURN(const SliceView view, ReadSliceView(ctx));
  if (view.extents == in.dims && view.first == 0 && view.strides == Strides(in.dims)) {
    ctx.Set(0, ctx.In(0));
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(ElementsOut out, ElementsOut::Make(ctx, 0, in.dtype, view.extents));
  if (out.count() > 0) {
    StridedMove move;
    move.extents = view.extents;
    move.from_strides = view.strides;
    move.to_strides = Strides(move.extents);
    MoveStrided(move, in.width, in.data + view.first * in.width, out.data());
  }
  return out.Finish(ctx);
}

absl::Status RunTile(RunContext& ctx) {
  ASSIGN_OR_RETURN(const Elements in, ReadElements(ctx, 0));
  ASSIGN_OR_RETURN(const std::vector<int64_t> repeats, ctx.Ints(1));
  ASSIGN_OR_RETURN(ElementsOut out, ElementsOut::Make(ctx, 0));
  if (out.count() == 0) return out.Finish(ctx);
  const std::vector<int64_t> strides = Strides(in.dims);
  StridedMove move;
  for (size_t i = 0; i < in.dims.size(); ++i) {
    move.extents.insert(move.extents.end(), {repeats[i], in.dims[i]});
    move.from_strides.insert(move.from_strides.end(), {0, strides[i]});
  }
  move.to_strides = Strides(move.extents);
  MoveStrided(move, in.width, in.data, out.data());
  return out.Finish(ctx);
}

absl::Status RunExpand(RunContext& ctx) {
  ASSIGN_OR_RETURN(const ValueFact* fact, ctx.Inferred(0));
  if (fact->dims == ctx.In(0).dims) {
    ctx.Set(0, ctx.In(0));
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const Elements in, ReadElements(ctx, 0));
  ASSIGN_OR_RETURN(ElementsOut out, ElementsOut::Make(ctx, 0));
  if (out.count() == 0) return out.Finish(ctx);
  StridedMove move;
  move.extents = out.dims();
  move.to_strides = Strides(out.dims());
  const std::vector<int64_t> strides = Strides(in.dims);
  move.from_strides.assign(out.dims().size() - in.dims.size(), 0);
  for (size_t i = 0; i < in.dims.size(); ++i) {
    move.from_strides.push_back(in.dims[i] == 1 ? 0 : strides[i]);
  }
  MoveStrided(move, in.width, in.data, out.data());
  return out.Finish(ctx);
}

// The middle of the input lies on the middle of the output; odd differences favour the front.
absl::Status RunCenterCropPad(RunContext& ctx) {
  ASSIGN_OR_RETURN(const Elements in, ReadElements(ctx, 0));
  ASSIGN_OR_RETURN(ElementsOut out, ElementsOut::Make(ctx, 0));
  if (out.count() == 0) return out.Finish(ctx);
  out.Clear();
  StridedMove move;
  move.from_strides = Strides(in.dims);
  move.to_strides = Strides(out.dims());
  int64_t from = 0;
  int64_t to = 0;
  for (size_t i = 0; i < in.dims.size(); ++i) {
    move.extents.push_back(std::min(in.dims[i], out.dims()[i]));
    from += (in.dims[i] - move.extents[i]) / 2 * move.from_strides[i];
    to += (out.dims()[i] - move.extents[i]) / 2 * move.to_strides[i];
  }
  MoveStrided(move, in.width, in.data + from * in.width, out.data() + to * in.width);
  return out.Finish(ctx);
}

constexpr OpForward kForwards[] = {
    {"", "CenterCropPad", RunCenterCropPad},
    {"", "Concat", RunConcat},
    {"", "Expand", RunExpand},
    {"", "Pad", RunPad},
    {"", "Slice", RunSlice},
    {"", "Split", RunSplit},
    {"", "Tile", RunTile},
};

}  // namespace

std::span<const OpForward> PieceForwards() { return kForwards; }

}  // namespace lathe::engine
