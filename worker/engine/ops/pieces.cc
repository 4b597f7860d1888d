// Operators that cut values into pieces, join them, or repeat them.
#include <algorithm>
#include <limits>

#include "worker/engine/ops/op_rules.h"

namespace lathe::engine {
namespace {

using Wide = __int128;

}  // namespace

bool InferConcat(OpContext& ctx) {
  if (!ctx.Ranked(0)) return false;
  const auto axis =
      NormalAxis(ctx.node().IntAttribute("axis", ctx.opset() < 4 ? 1 : 0), ctx.Rank(0));
  if (!axis) return false;
  Shape dims = ctx.Dims(0);
  for (size_t i = 1; i < ctx.input_count(); ++i) {
    if (!ctx.Ranked(i) || ctx.Rank(i) != ctx.Rank(0)) return false;
    for (size_t d = 0; d < dims.size(); ++d) {
      if (static_cast<int64_t>(d) == *axis) {
        dims[d] = SaturatingAdd(dims[d], ctx.Dims(i)[d]);
      } else if (dims[d] != ctx.Dims(i)[d]) {
        return false;
      }
    }
  }
  ValueFact& out = ctx.Set(0, ctx.In(0).dtype, std::move(dims));
  if (ctx.Rank(0) != 1 || !IsPlausible(out.dims) || out.size() > kMaxFoldedElements) return true;
  for (size_t i = 0; i < ctx.input_count(); ++i) {
    if (!ctx.In(i).known) return true;
    out.ints.insert(out.ints.end(), ctx.In(i).ints.begin(), ctx.In(i).ints.end());
    out.reals.insert(out.reals.end(), ctx.In(i).reals.begin(), ctx.In(i).reals.end());
  }
  out.known = true;
  return true;
}

bool InferSplit(OpContext& ctx) {
  if (!ctx.Ranked(0)) return false;
  const auto axis = NormalAxis(ctx.node().IntAttribute("axis", 0), ctx.Rank(0));
  if (!axis || ctx.output_count() == 0) return false;
  const int64_t extent = ctx.Dims(0)[*axis];
  const auto pieces = static_cast<int64_t>(ctx.output_count());
  std::vector<int64_t> sizes;
  if (ctx.node().FindAttribute("split") != nullptr) {
    sizes = ctx.node().IntsAttribute("split");
  } else if (ctx.Has(1)) {
    const auto given = ctx.Ints(1);
    if (!given) return false;
    sizes = *given;
  } else {
    const int64_t size = (extent + pieces - 1) / pieces;
    for (int64_t i = 0; i < pieces; ++i) {
      sizes.push_back(std::clamp(extent - i * size, int64_t{0}, size));
    }
  }
  if (static_cast<int64_t>(sizes.size()) != pieces) return false;
  int64_t start = 0;
  for (size_t i = 0; i < sizes.size(); ++i) {
    if (sizes[i] < 0 || sizes[i] > extent - start) return false;
    Shape dims = ctx.Dims(0);
    dims[*axis] = sizes[i];
    ValueFact& out = ctx.Set(i, ctx.In(0).dtype, std::move(dims));
    if (ctx.Rank(0) == 1 && ctx.In(0).known) {
      std::vector<int64_t> source;
      for (int64_t k = 0; k < sizes[i]; ++k) source.push_back(start + k);
      CopyElements(ctx.In(0), source, out);
    }
    start += sizes[i];
  }
  return true;
}

SliceRange ResolveSlice(int64_t start, int64_t end, int64_t step, int64_t extent) {
  const Wide from = Wide{start} + (start < 0 ? extent : 0);
  const Wide to = Wide{end} + (end < 0 ? extent : 0);
  const Wide highest = step > 0 ? Wide{extent} : std::max<Wide>(Wide{extent} - 1, 0);
  const Wide first = std::clamp<Wide>(from, 0, highest);
  const Wide last = std::clamp<Wide>(to, step > 0 ? 0 : -1, step > 0 ? extent : Wide{extent} - 1);
  const Wide span = step > 0 ? last - first : first - last;
  const Wide pace = step > 0 ? Wide{step} : -Wide{step};
  SliceRange range;
  range.first = static_cast<int64_t>(first);
  range.step = step;
  range.count = span <= 0 || extent == 0 ? 0 : static_cast<int64_t>((span + pace - 1) / pace);
  return range;
}

bool InferSlice(OpContext& ctx) {
  if (!ctx.Ranked(0)) return false;
  std::optional<std::vector<int64_t>> starts;
  std::optional<std::vector<int64_t>> ends;
  std::optional<std::vector<int64_t>> axes;
  std::optional<std::vector<int64_t>> steps;
  if (ctx.node().FindAttribute("starts") != nullptr) {
    starts = ctx.node().IntsAttribute("starts");
    ends = ctx.node().IntsAttribute("ends");
    if (ctx.node().FindAttribute("axes") != nullptr) axes = ctx.node().IntsAttribute("axes");
  } else {
    starts = ctx.Ints(1);
    ends = ctx.Ints(2);
    if (ctx.Has(3) && !(axes = ctx.Ints(3))) return false;
    if (ctx.Has(4) && !(steps = ctx.Ints(4))) return false;
  }
  Shape dims = ctx.Dims(0);
  if (!starts || !ends) {
    // What is cut depends on the data: all of it is the most it can be.
    ctx.Assume("how much it cuts off depends on the data; nothing assumed");
    ctx.Set(0, ctx.In(0).dtype, std::move(dims));
    return true;
  }
  const size_t count = starts->size();
  if (ends->size() != count || (axes && axes->size() != count) ||
      (steps && steps->size() != count) || count > dims.size()) {
    return false;
  }
  std::vector<int64_t> first(dims.size(), 0);
  std::vector<int64_t> stride(dims.size(), 1);
  for (size_t i = 0; i < count; ++i) {
    const auto axis = NormalAxis(axes ? (*axes)[i] : static_cast<int64_t>(i), ctx.Rank(0));
    const int64_t step = steps ? (*steps)[i] : 1;
    if (!axis || step == 0) return false;
    const int64_t extent = ctx.Dims(0)[*axis];
    const SliceRange range = ResolveSlice((*starts)[i], (*ends)[i], step, extent);
    dims[*axis] = range.count;
    first[*axis] = range.first;
    stride[*axis] = step;
  }
  ValueFact& out = ctx.Set(0, ctx.In(0).dtype, dims);
  if (!ctx.In(0).known || out.size() > kMaxFoldedElements) return true;
  const std::vector<int64_t> strides = Strides(ctx.Dims(0));
  std::vector<int64_t> source(static_cast<size_t>(out.size()));
  for (size_t i = 0; i < source.size(); ++i) {
    auto rest = static_cast<int64_t>(i);
    for (size_t axis = dims.size(); axis-- > 0;) {
      const int64_t position = rest % dims[axis];
      rest /= dims[axis];
      source[i] += (first[axis] + (position == 0 ? 0 : position * stride[axis])) * strides[axis];
    }
  }
  CopyElements(ctx.In(0), source, out);
  return true;
}

bool InferPad(OpContext& ctx) {
  if (!ctx.Ranked(0)) return false;
  std::optional<std::vector<int64_t>> pads;
  for (const char* name : {"pads", "paddings"}) {
    if (ctx.node().FindAttribute(name) != nullptr) pads = ctx.node().IntsAttribute(name);
  }
  if (!pads) pads = ctx.Ints(1);
  if (!pads) return false;
  std::vector<int64_t> axes;
  if (ctx.Has(3)) {
    const auto given = ctx.Ints(3);
    if (!given) return false;
    axes = *given;
  } else {
    for (int64_t i = 0; i < ctx.Rank(0); ++i) axes.push_back(i);
  }
  if (pads->size() != 2 * axes.size()) return false;
  Shape dims = ctx.Dims(0);
  for (size_t i = 0; i < axes.size(); ++i) {
    const auto axis = NormalAxis(axes[i], ctx.Rank(0));
    if (!axis) return false;
    const Wide extent = Wide{dims[*axis]} + (*pads)[i] + (*pads)[i + axes.size()];
    if (extent < 0 || extent > kMaxExtent) return false;
    dims[*axis] = static_cast<int64_t>(extent);
  }
  ctx.Set(0, ctx.In(0).dtype, std::move(dims));
  return true;
}

bool InferTile(OpContext& ctx) {
  if (!ctx.Ranked(0)) return false;
  const auto repeats = ctx.Ints(1);
  if (!repeats || repeats->size() != ctx.Dims(0).size()) return false;
  Shape dims = ctx.Dims(0);
  for (size_t i = 0; i < dims.size(); ++i) {
    if ((*repeats)[i] < 0) return false;
    dims[i] = SaturatingMul(dims[i], (*repeats)[i]);
  }
  ValueFact& out = ctx.Set(0, ctx.In(0).dtype, dims);
  if (ctx.Rank(0) == 1 && ctx.In(0).known && IsPlausible(dims) && dims[0] <= kMaxFoldedElements) {
    std::vector<int64_t> source;
    for (int64_t i = 0; i < dims[0]; ++i) source.push_back(i % ctx.Dims(0)[0]);
    CopyElements(ctx.In(0), source, out);
  }
  return true;
}

bool InferExpand(OpContext& ctx) {
  if (!ctx.Ranked(0)) return false;
  const auto target = ctx.Ints(1);
  if (!target) return false;
  std::optional<Shape> dims = Broadcast(ctx.Dims(0), *target);
  if (!dims) return false;
  ValueFact& out = ctx.Set(0, ctx.In(0).dtype, *std::move(dims));
  if (ctx.In(0).known && ctx.In(0).size() == 1 && IsPlausible(out.dims) &&
      out.size() <= kMaxFoldedElements) {
    CopyElements(ctx.In(0), std::vector<int64_t>(static_cast<size_t>(out.size()), 0), out);
  }
  return true;
}

bool InferCenterCropPad(OpContext& ctx) {
  if (!ctx.Ranked(0)) return false;
  const auto target = ctx.Ints(1);
  if (!target) return false;
  std::vector<int64_t> axes = ctx.node().IntsAttribute("axes");
  if (ctx.node().FindAttribute("axes") == nullptr) {
    for (int64_t i = 0; i < ctx.Rank(0); ++i) axes.push_back(i);
  }
  if (axes.size() != target->size()) return false;
  Shape dims = ctx.Dims(0);
  for (size_t i = 0; i < axes.size(); ++i) {
    const auto axis = NormalAxis(axes[i], ctx.Rank(0));
    if (!axis) return false;
    dims[*axis] = (*target)[i];
  }
  ctx.Set(0, ctx.In(0).dtype, std::move(dims));
  return true;
}

}  // namespace lathe::engine
