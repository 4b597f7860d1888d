// Values joined, cut and repeated: the gradient of a piece is the piece of the gradient, and those
// of repetitions are added up.
#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "common/status_macros.h"
#include "worker/engine/kernels/strided_move.h"
#include "worker/engine/ops/backward/backward.h"
#include "worker/engine/ops/backward/run_forward.h"
#include "worker/engine/ops/forward/elements.h"
#include "worker/engine/ops/forward/pad.h"
#include "worker/engine/ops/forward/slice_view.h"
#include "worker/engine/ops/op_context.h"

namespace lathe::engine {
namespace {

// Copies `rows` runs of `count` elements, whose starts lie `from_step` and `to_step` apart.
void CopyRuns(int64_t rows, int64_t count, const float* from, int64_t from_step, float* to,
              int64_t to_step) {
  if (count == 0) return;
  for (int64_t r = 0; r < rows; ++r) {
    std::memcpy(to + r * to_step, from + r * from_step, static_cast<size_t>(count) * sizeof(float));
  }
}

absl::Status ConcatGrad(GradContext& ctx) {
  const Shape& dims = ctx.Out(0).dims;
  const auto axis =
      NormalAxis(ctx.node().IntAttribute("axis", 0), static_cast<int64_t>(dims.size()));
  if (!axis) return ctx.Error("axis lies outside of the inputs' rank");
  const int64_t rows = ExtentProduct(dims, 0, *axis);
  const int64_t block = ExtentProduct(dims, *axis + 1, dims.size());
  const float* from = ctx.Grad(0).data();
  for (size_t i = 0; i < ctx.input_count(); ++i) {
    const int64_t count = ctx.Dims(i)[*axis] * block;
    if (ctx.Wants(i)) {
      ASSIGN_OR_RETURN(const std::span<float> out, ctx.Emit(i));
      CopyRuns(rows, count, from, dims[*axis] * block, out.data(), count);
    }
    from += count;
  }
  return absl::OkStatus();
}

// Extents of the pieces along the axis, of which there are `outputs`.
absl::StatusOr<std::vector<int64_t>> PieceExtents(const GradContext& ctx, int64_t extent,
                                                  size_t outputs) {
  if (ctx.node().FindAttribute("split") != nullptr) return ctx.node().IntsAttribute("split");
  if (ctx.Has(1)) return ctx.Ints(1);
  const auto pieces = static_cast<int64_t>(outputs);
  const int64_t each = (extent + pieces - 1) / pieces;
  std::vector<int64_t> out(outputs, each);
  out.back() = extent - each * (pieces - 1);
  return out;
}

absl::Status SplitGrad(GradContext& ctx) {
  if (!ctx.Wants(0)) return absl::OkStatus();
  const Shape& dims = ctx.Dims(0);
  const auto axis =
      NormalAxis(ctx.node().IntAttribute("axis", 0), static_cast<int64_t>(dims.size()));
  if (!axis) return ctx.Error("axis lies outside of the input's rank");
  const int64_t rows = ExtentProduct(dims, 0, *axis);
  const int64_t block = ExtentProduct(dims, *axis + 1, dims.size());
  const size_t outputs = ctx.node().outputs.size();
  ASSIGN_OR_RETURN(const std::vector<int64_t> extents, PieceExtents(ctx, dims[*axis], outputs));
  if (extents.size() != outputs) return ctx.Error("it has another number of pieces than outputs");
  bool all = true;
  for (size_t i = 0; i < outputs; ++i) all = all && ctx.HasGrad(i);
  ASSIGN_OR_RETURN(const std::span<float> out, all ? ctx.Emit(0) : ctx.EmitZeros(0));
  float* to = out.data();
  for (size_t i = 0; i < outputs; ++i) {
    const int64_t count = extents[i] * block;
    if (ctx.HasGrad(i)) {
      CopyRuns(rows, count, ctx.Grad(i).data(), count, to, dims[*axis] * block);
    }
    to += count;
  }
  return absl::OkStatus();
}

// Output 0, of shape `extents`, showed input 0 from element `first` on with these strides, each
// element once at most: its gradient goes there, and 0 elsewhere.
absl::Status EmitShown(GradContext& ctx, const Shape& extents, const std::vector<int64_t>& strides,
                       int64_t first, const float* g, const std::vector<int64_t>& g_strides) {
  ASSIGN_OR_RETURN(const std::span<float> out, ctx.EmitZeros(0));
  for (const int64_t extent : extents) {
    if (extent == 0) return absl::OkStatus();
  }
  MoveStrided({extents, g_strides, strides}, sizeof(float), reinterpret_cast<const char*>(g),
              reinterpret_cast<char*>(out.data() + first));
  return absl::OkStatus();
}

absl::Status SliceGrad(GradContext& ctx) {
  if (!ctx.Wants(0)) return absl::OkStatus();
  ASSIGN_OR_RETURN(const SliceView view, ReadSliceView(ctx));
  return EmitShown(ctx, view.extents, view.strides, view.first, ctx.Grad(0).data(),
                   Strides(view.extents));
}

// Output 0 seen with axes [repeats, extent] for each of the input's.
absl::Status TileGrad(GradContext& ctx) {
  if (!ctx.Wants(0)) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::vector<int64_t> repeats, ctx.Ints(1));
  const Shape& dims = ctx.Dims(0);
  if (repeats.size() != dims.size()) return ctx.Error("repeats must have one element an axis");
  Shape from;
  Shape to;
  for (size_t i = 0; i < dims.size(); ++i) {
    from.insert(from.end(), {repeats[i], dims[i]});
    to.insert(to.end(), {1, dims[i]});
  }
  ASSIGN_OR_RETURN(const std::span<float> out, ctx.Emit(0));
  SumToShape(ctx.Grad(0), from, to, out);
  return absl::OkStatus();
}

absl::Status ExpandGrad(GradContext& ctx) {
  if (!ctx.Wants(0)) return absl::OkStatus();
  if (ctx.Dims(0) == ctx.Out(0).dims) {
    ctx.Pass(0, 0);
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const std::span<float> out, ctx.Emit(0));
  SumToShape(ctx.Grad(0), ctx.Out(0).dims, ctx.Dims(0), out);
  return absl::OkStatus();
}

// Of a constant around what is left of input 0: that part passes, and the constant has the rest.
absl::Status ConstantPadGrad(GradContext& ctx) {
  ASSIGN_OR_RETURN(const PadAmounts pads, ReadPadAmounts(ctx));
  const Shape& dims = ctx.Dims(0);
  const std::vector<int64_t> strides = Strides(dims);
  const std::vector<int64_t> g_strides = Strides(ctx.Out(0).dims);
  Shape kept;
  int64_t first = 0;
  int64_t g_first = 0;
  bool empty = false;
  for (size_t i = 0; i < dims.size(); ++i) {
    const int64_t cropped = std::max<int64_t>(0, -pads.begin[i]);
    kept.push_back(std::max<int64_t>(0, dims[i] - cropped - std::max<int64_t>(0, -pads.end[i])));
    first += cropped * strides[i];
    g_first += std::max<int64_t>(0, pads.begin[i]) * g_strides[i];
    empty |= kept.back() == 0;
  }
  if (ctx.Wants(2)) {
    double sum = 0;
    for (const float g : ctx.Grad(0)) sum += static_cast<double>(g);
    if (!empty) {
      ASSIGN_OR_RETURN(Value inner, ctx.NewValue(kept));
      MoveStrided({kept, g_strides, Strides(kept)}, sizeof(float),
                  ctx.GradValue(0).data + g_first * static_cast<int64_t>(sizeof(float)),
                  inner.buffer->data());
      for (const float g : inner.As<float>()) sum -= static_cast<double>(g);
    }
    ASSIGN_OR_RETURN(const std::span<float> out, ctx.Emit(2));
    std::fill(out.begin(), out.end(), static_cast<float>(sum));
  }
  if (!ctx.Wants(0)) return absl::OkStatus();
  const float* g = ctx.Grad(0).data();
  return EmitShown(ctx, kept, strides, empty ? 0 : first, empty ? g : g + g_first, g_strides);
}

absl::Status PadGrad(GradContext& ctx) {
  if (ctx.node().StringAttribute("mode", "constant") == "constant") return ConstantPadGrad(ctx);
  return EmitByPositions(ctx, {0}, /*left_out=*/{2});
}

absl::Status CenterCropPadGrad(GradContext& ctx) { return EmitByPositions(ctx, {0}); }

// Integers of a quantized value may lie on the way as well as reals.
constexpr OpBackward Moved(const char* op, absl::Status (*run)(GradContext&)) {
  return {"", op, run, kReadsNothing, kReadsNothing, kThroughIntegers};
}

constexpr OpBackward kTable[] = {
    Moved("CenterCropPad", CenterCropPadGrad),
    Moved("Concat", ConcatGrad),
    Moved("Expand", ExpandGrad),
    Moved("Pad", PadGrad),
    Moved("Slice", SliceGrad),
    Moved("Split", SplitGrad),
    Moved("Tile", TileGrad),
};

}  // namespace

std::span<const OpBackward> PieceBackwards() { return kTable; }

}  // namespace lathe::engine
