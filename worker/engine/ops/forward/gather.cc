// Elements picked by index. Writing by index is in scatter.cc.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/engine/kernels/strided_move.h"
#include "worker/engine/ops/forward/elements.h"
#include "worker/engine/ops/forward/forward.h"
#include "worker/engine/ops/forward/gather_block_quantized.h"
#include "worker/engine/ops/forward/scatter.h"
#include "worker/engine/ops/forward/value_read.h"
#include "worker/engine/ops/op_context.h"

namespace lathe::engine {
namespace {

absl::Status RunGather(RunContext& ctx) {
  ASSIGN_OR_RETURN(const Elements data, ReadElements(ctx, 0));
  const size_t rank = data.dims.size();
  const auto axis =
      NormalAxis(ctx.node().IntAttribute("axis", 0), static_cast<int64_t>(rank));
  if (!axis) return ctx.Error("axis lies outside of the data's rank");
  const int64_t extent = data.dims[*axis];
  ASSIGN_OR_RETURN(const std::vector<int64_t> indices, ReadIndices(ctx, 1, extent));
  ASSIGN_OR_RETURN(ElementsOut out, ElementsOut::Make(ctx, 0));
  const int64_t rows = ExtentProduct(data.dims, 0, *axis);
  const int64_t block = ExtentProduct(data.dims, *axis + 1, rank);
  const int64_t bytes = block * data.width;
  if (out.count() == 0) return out.Finish(ctx);
  char* to = out.data();
  for (int64_t row = 0; row < rows; ++row) {
    const char* from = data.data + row * extent * bytes;
    if (block > 1) {
      for (const int64_t index : indices) {
        std::memcpy(to, from + index * bytes, static_cast<size_t>(bytes));
        to += bytes;
      }
      continue;
    }
    ByWidth(data.width, [&](auto word) {
      using T = decltype(word);
      const auto* source = reinterpret_cast<const T*>(from);
      auto* target = reinterpret_cast<T*>(to);
      for (size_t i = 0; i < indices.size(); ++i) target[i] = source[indices[i]];
    });
    to += static_cast<int64_t>(indices.size()) * data.width;
  }
  return out.Finish(ctx);
}

absl::Status RunGatherElements(RunContext& ctx) {
  ASSIGN_OR_RETURN(const Elements data, ReadElements(ctx, 0));
  ASSIGN_OR_RETURN(const AxisIndices at, ReadAxisIndices(ctx, data.dims));
  ASSIGN_OR_RETURN(ElementsOut out, ElementsOut::Make(ctx, 0));
  ByWidth(data.width, [&](auto word) {
    using T = decltype(word);
    const auto* from = reinterpret_cast<const T*>(data.data);
    auto* to = reinterpret_cast<T*>(out.data());
    at.ForEach([&](int64_t i, int64_t position) { to[i] = from[position]; });
  });
  return out.Finish(ctx);
}

absl::Status RunGatherND(RunContext& ctx) {
  ASSIGN_OR_RETURN(const Elements data, ReadElements(ctx, 0));
  ASSIGN_OR_RETURN(ElementsOut out, ElementsOut::Make(ctx, 0));
  // The rule has held batch_dims and the tuples' length against the ranks.
  const auto batch_axes = static_cast<size_t>(ctx.node().IntAttribute("batch_dims", 0));
  const Shape& dims = ctx.In(1).dims;
  for (size_t i = 0; i < batch_axes; ++i) {
    if (dims[i] != data.dims[i]) return ctx.Error("data and indices differ in the batch axes");
  }
  ASSIGN_OR_RETURN(const std::vector<int64_t> tuples,
                   ReadTuples(ctx, 1, data.dims, batch_axes));
  if (out.count() == 0) return out.Finish(ctx);
  const auto depth = static_cast<size_t>(dims.back());
  const int64_t batches = ExtentProduct(dims, 0, batch_axes);
  const int64_t batch_bytes =
      ExtentProduct(data.dims, batch_axes, data.dims.size()) * data.width;
  const int64_t bytes =
      ExtentProduct(data.dims, batch_axes + depth, data.dims.size()) * data.width;
  const int64_t picks = static_cast<int64_t>(tuples.size()) / batches;
  char* to = out.data();
  for (size_t i = 0; i < tuples.size(); ++i) {
    const char* from =
        data.data + static_cast<int64_t>(i) / picks * batch_bytes + tuples[i] * bytes;
    std::memcpy(to, from, static_cast<size_t>(bytes));
    to += bytes;
  }
  return out.Finish(ctx);
}

// Output [..., depth, ...]: values[1] where the index points, values[0] elsewhere. Indices outside
// of [-depth, depth) point nowhere.
absl::Status RunOneHot(RunContext& ctx) {
  for (const size_t i : {0, 1}) {
    if (!ctx.In(i).IsTensor() || ctx.In(i).dtype == DType::kString) {
      return ctx.Error("indices and depth must be numbers");
    }
  }
  ASSIGN_OR_RETURN(const Elements values, ReadElements(ctx, 2));
  if (ctx.In(1).size() != 1 || values.count != 2) {
    return ctx.Error("depth must be one number, values two");
  }
  const double depth_number = ctx.Scalar(1, 0);
  if (!(depth_number >= 0 && depth_number <= static_cast<double>(kMaxExtent))) {
    return ctx.Error(absl::StrCat("a depth of ", depth_number, " is out of range"));
  }
  const auto depth = static_cast<int64_t>(depth_number);
  const Value& indices = ctx.In(0);
  const auto rank = static_cast<int64_t>(indices.dims.size());
  const auto axis = NormalAxis(ctx.node().IntAttribute("axis", -1), rank + 1);
  if (!axis) return ctx.Error("axis lies outside of the output's rank");
  Shape dims = indices.dims;
  dims.insert(dims.begin() + *axis, depth);
  ASSIGN_OR_RETURN(ElementsOut out, ElementsOut::Make(ctx, 0, values.dtype, dims));
  if (out.count() == 0) return out.Finish(ctx);
  const int64_t after = ExtentProduct(indices.dims, *axis, indices.dims.size());
  ByWidth(values.width, [&](auto word) {
    using T = decltype(word);
    const auto* pair = reinterpret_cast<const T*>(values.data);
    auto* to = reinterpret_cast<T*>(out.data());
    std::fill_n(to, out.count(), pair[0]);
    for (int64_t i = 0; i < indices.size(); ++i) {
      const double number = std::trunc(ReadNumber(indices, i));
      if (!(number >= -depth_number && number < depth_number)) continue;
      auto index = static_cast<int64_t>(number);
      if (index < 0) index += depth;
      if (index >= depth) continue;
      to[(i / after * depth + index) * after + i % after] = pair[1];
    }
  });
  return out.Finish(ctx);
}

// Without an axis the input counts as one row. A condition may be shorter than the axis.
absl::Status RunCompress(RunContext& ctx) {
  ASSIGN_OR_RETURN(const Elements in, ReadElements(ctx, 0));
  ASSIGN_OR_RETURN(const std::vector<int64_t> condition, ctx.Ints(1));
  Shape dims = {in.count};
  int64_t axis = 0;
  if (ctx.node().FindAttribute("axis") != nullptr) {
    dims = in.dims;
    const auto given = NormalAxis(ctx.node().IntAttribute("axis", 0),
                                  static_cast<int64_t>(dims.size()));
    if (!given) return ctx.Error("axis lies outside of the input's rank");
    axis = *given;
  }
  const int64_t extent = dims[axis];
  std::vector<int64_t> kept;
  for (int64_t i = 0; i < std::min(extent, static_cast<int64_t>(condition.size())); ++i) {
    if (condition[i] != 0) kept.push_back(i);
  }
  const int64_t rows = ExtentProduct(dims, 0, axis);
  const int64_t bytes = ExtentProduct(dims, axis + 1, dims.size()) * in.width;
  dims[axis] = static_cast<int64_t>(kept.size());
  ASSIGN_OR_RETURN(ElementsOut out, ElementsOut::Make(ctx, 0, in.dtype, dims));
  if (out.count() == 0) return out.Finish(ctx);
  char* to = out.data();
  for (int64_t row = 0; row < rows; ++row) {
    for (const int64_t i : kept) {
      std::memcpy(to, in.data + (row * extent + i) * bytes, static_cast<size_t>(bytes));
      to += bytes;
    }
  }
  return out.Finish(ctx);
}

// The first sequence_lens[b] steps of batch b in reverse, the rest as they are.
absl::Status RunReverseSequence(RunContext& ctx) {
  ASSIGN_OR_RETURN(const Elements in, ReadElements(ctx, 0));
  const int64_t batch_axis = ctx.node().IntAttribute("batch_axis", 1);
  const int64_t time_axis = ctx.node().IntAttribute("time_axis", 0);
  if (in.dims.size() < 2 || batch_axis + time_axis != 1 || batch_axis * time_axis != 0) {
    return ctx.Error("batch_axis and time_axis must be 0 and 1 or 1 and 0, of a rank of 2 or more");
  }
  ASSIGN_OR_RETURN(const std::vector<int64_t> lengths, ctx.Ints(1));
  const int64_t batches = in.dims[batch_axis];
  const int64_t steps = in.dims[time_axis];
  if (static_cast<int64_t>(lengths.size()) != batches) {
    return ctx.Error(absl::StrCat("sequence_lens must have ", batches, " elements"));
  }
  for (const int64_t length : lengths) {
    if (length < 0 || length > steps) {
      return ctx.Error(absl::StrCat("a length of ", length, " lies outside of [0, ", steps, "]"));
    }
  }
  ASSIGN_OR_RETURN(ElementsOut out, ElementsOut::Make(ctx, 0));
  const int64_t bytes = ExtentProduct(in.dims, 2, in.dims.size()) * in.width;
  if (out.count() == 0) return out.Finish(ctx);
  for (int64_t b = 0; b < batches; ++b) {
    for (int64_t t = 0; t < steps; ++t) {
      const int64_t source = t < lengths[b] ? lengths[b] - 1 - t : t;
      const auto row = [&](int64_t step) {
        return (time_axis == 0 ? step * batches + b : b * steps + step) * bytes;
      };
      std::memcpy(out.data() + row(t), in.data + row(source), static_cast<size_t>(bytes));
    }
  }
  return out.Finish(ctx);
}

constexpr OpForward kForwards[] = {
    {"", "Compress", RunCompress},
    {"", "Gather", RunGather},
    {"", "GatherElements", RunGatherElements},
    {"", "GatherND", RunGatherND},
    {"", "OneHot", RunOneHot},
    {"", "ReverseSequence", RunReverseSequence},
    {"", "Scatter", RunScatterElements},
    {"", "ScatterElements", RunScatterElements},
    {"", "ScatterND", RunScatterND},
    {"", "TensorScatter", RunTensorScatter},
    {"com.microsoft", "GatherBlockQuantized", RunGatherBlockQuantized},
};

}  // namespace

std::span<const OpForward> GatherForwards() { return kForwards; }

}  // namespace lathe::engine
