// Elements picked or written by index: the gradient of what was picked is added where it came from.
#include <string>
#include <vector>

#include "common/status_macros.h"
#include "worker/engine/ops/backward/backward.h"
#include "worker/engine/ops/backward/run_forward.h"
#include "worker/engine/ops/forward/elements.h"
#include "worker/engine/ops/op_context.h"

namespace lathe::engine {
namespace {

// Adds rows [outer, picks, block] of g to out [outer, extent, block], by index.
void AddPicked(int64_t outer, int64_t extent, int64_t block, const std::vector<int64_t>& indices,
               const float* g, float* out) {
  for (int64_t o = 0; o < outer; ++o, out += extent * block) {
    for (const int64_t given : indices) {
      float* to = out + (given < 0 ? given + extent : given) * block;
      for (int64_t k = 0; k < block; ++k) to[k] += g[k];
      g += block;
    }
  }
}

absl::Status GatherGrad(GradContext& ctx) {
  if (!ctx.Wants(0)) return absl::OkStatus();
  const Shape& dims = ctx.Dims(0);
  const auto axis =
      NormalAxis(ctx.node().IntAttribute("axis", 0), static_cast<int64_t>(dims.size()));
  if (!axis) return ctx.Error("axis lies outside of the data's rank");
  // The forward run has held them against the extent.
  ASSIGN_OR_RETURN(const std::vector<int64_t> indices, ctx.Ints(1));
  ASSIGN_OR_RETURN(const std::span<float> out, ctx.EmitZeros(0));
  AddPicked(ExtentProduct(dims, 0, *axis), dims[*axis], ExtentProduct(dims, *axis + 1, dims.size()),
            indices, ctx.Grad(0).data(), out.data());
  return absl::OkStatus();
}

// GatherElements, GatherND, Compress, Trilu, ReverseSequence.
absl::Status PickedGrad(GradContext& ctx) { return EmitByPositions(ctx, {0}); }

// Where two updates meet the later one is what is left; of a sum each has the whole gradient, which
// the operator that reads by such indices picks.
absl::Status ScatterGrad(GradContext& ctx, const char* reader) {
  const std::string reduction = ctx.node().StringAttribute("reduction", "none");
  if (reduction == "none") return EmitByPositions(ctx, {0, 2});
  if (reduction != "add") return ctx.Unsupported("reduction '" + reduction + "'");
  if (ctx.Wants(0)) ctx.Pass(0, 0);
  if (!ctx.Wants(2)) return absl::OkStatus();
  Node node;
  node.op_type = reader;
  node.outputs = {"y"};
  if (ctx.node().FindAttribute("axis") != nullptr) {
    node.SetInt("axis", ctx.node().IntAttribute("axis", 0));
  }
  ASSIGN_OR_RETURN(Value picked, RunForward(ctx, node, {ctx.GradValue(0), ctx.In(1)}));
  ctx.Set(2, std::move(picked));
  return absl::OkStatus();
}

absl::Status ScatterElementsGrad(GradContext& ctx) { return ScatterGrad(ctx, "GatherElements"); }
absl::Status ScatterNDGrad(GradContext& ctx) { return ScatterGrad(ctx, "GatherND"); }

// Of the values; the indices have none.
absl::Status OneHotGrad(GradContext& ctx) {
  if (!ctx.Wants(2)) return absl::OkStatus();
  return EmitByPositions(ctx, {2});
}

// Of the values, by the indices that are output 1.
absl::Status TopKGrad(GradContext& ctx) {
  if (!ctx.Wants(0) || !ctx.HasGrad(0)) return absl::OkStatus();
  const Value& indices = ctx.Out(1);
  if (!indices.IsTensor() || indices.data == nullptr || indices.dtype != DType::kInt64) {
    return ctx.Unsupported("without its indices as an output");
  }
  const Shape& dims = ctx.Dims(0);
  const auto axis =
      NormalAxis(ctx.node().IntAttribute("axis", -1), static_cast<int64_t>(dims.size()));
  if (!axis) return ctx.Error("axis lies outside of the input's rank");
  const int64_t extent = dims[*axis];
  const int64_t k = indices.dims[*axis];
  const int64_t outer = ExtentProduct(dims, 0, *axis);
  const int64_t inner = ExtentProduct(dims, *axis + 1, dims.size());
  ASSIGN_OR_RETURN(const std::span<float> out, ctx.EmitZeros(0));
  const int64_t* index = indices.As<int64_t>().data();
  const float* g = ctx.Grad(0).data();
  for (int64_t o = 0; o < outer; ++o) {
    for (int64_t at = o * k * inner; at < (o + 1) * k * inner; ++at) {
      out[(o * extent + index[at]) * inner + at % inner] += g[at];
    }
  }
  return absl::OkStatus();
}

constexpr OpBackward kTable[] = {
    {"", "Compress", PickedGrad},
    {"", "Gather", GatherGrad},
    {"", "GatherElements", PickedGrad},
    {"", "GatherND", PickedGrad},
    {"", "OneHot", OneHotGrad, 0b011},
    {"", "ReverseSequence", PickedGrad},
    {"", "Scatter", ScatterElementsGrad},
    {"", "ScatterElements", ScatterElementsGrad},
    {"", "ScatterND", ScatterNDGrad},
    {"", "TopK", TopKGrad, kReadsNothing, 0b10},
    {"", "Trilu", PickedGrad},
};

}  // namespace

std::span<const OpBackward> GatherBackwards() { return kTable; }

}  // namespace lathe::engine
