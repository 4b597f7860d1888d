// Elements written by index, in the order of the updates: where two meet, the later one is written,
// or is combined with what the earlier ones left. Integers wrap around.
#include "worker/engine/ops/forward/scatter.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <type_traits>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/engine/ops/forward/elements.h"
#include "worker/engine/ops/op_context.h"

namespace lathe::engine {
namespace {

enum class Merge { kReplace, kAdd, kMul, kMin, kMax };

absl::StatusOr<Merge> ReadMerge(const RunContext& ctx) {
  const std::string name = ctx.node().StringAttribute("reduction", "none");
  if (name == "none") return Merge::kReplace;
  if (name == "add") return Merge::kAdd;
  if (name == "mul") return Merge::kMul;
  if (name == "min") return Merge::kMin;
  if (name == "max") return Merge::kMax;
  return ctx.Error(absl::StrCat("reduction must be none, add, mul, min or max, not '", name, "'"));
}

template <typename T>
T Merged(Merge merge, T a, T b) {
  if (merge == Merge::kMin) return std::min(a, b);
  if (merge == Merge::kMax) return std::max(a, b);
  if constexpr (std::is_integral_v<T>) {
    const auto wide_a = static_cast<uint64_t>(a);
    const auto wide_b = static_cast<uint64_t>(b);
    return static_cast<T>(merge == Merge::kAdd ? wide_a + wide_b : wide_a * wide_b);
  } else {
    return merge == Merge::kAdd ? a + b : a * b;
  }
}

template <typename T>
void MergeAll(Merge merge, int64_t count, const char* from, char* to) {
  const auto* update = reinterpret_cast<const T*>(from);
  auto* target = reinterpret_cast<T*>(to);
  for (int64_t i = 0; i < count; ++i) target[i] = Merged<T>(merge, target[i], update[i]);
}

template <float (*Decode)(uint16_t), uint16_t (*Encode)(float)>
void MergeHalves(Merge merge, int64_t count, const char* from, char* to) {
  const auto* update = reinterpret_cast<const uint16_t*>(from);
  auto* target = reinterpret_cast<uint16_t*>(to);
  for (int64_t i = 0; i < count; ++i) {
    target[i] = Encode(Merged<float>(merge, Decode(target[i]), Decode(update[i])));
  }
}

// of booleans: a sum is "or", a product "and"
void MergeBools(Merge merge, int64_t count, const char* from, char* to) {
  const bool any = merge == Merge::kAdd || merge == Merge::kMax;
  for (int64_t i = 0; i < count; ++i) {
    to[i] = static_cast<char>(any ? to[i] | from[i] : to[i] & from[i]);
  }
}

using MergeFn = void (*)(Merge merge, int64_t count, const char* from, char* to);

// nullptr for types without arithmetic.
MergeFn MergeOf(DType dtype) {
  switch (dtype) {
    case DType::kFloat:
      return MergeAll<float>;
    case DType::kDouble:
      return MergeAll<double>;
    case DType::kFloat16:
      return MergeHalves<HalfToFloat, FloatToHalf>;
    case DType::kBfloat16:
      return MergeHalves<Bfloat16ToFloat, FloatToBfloat16>;
    case DType::kInt8:
      return MergeAll<int8_t>;
    case DType::kInt16:
      return MergeAll<int16_t>;
    case DType::kInt32:
      return MergeAll<int32_t>;
    case DType::kInt64:
      return MergeAll<int64_t>;
    case DType::kUint8:
      return MergeAll<uint8_t>;
    case DType::kUint16:
      return MergeAll<uint16_t>;
    case DType::kUint32:
      return MergeAll<uint32_t>;
    case DType::kUint64:
      return MergeAll<uint64_t>;
    case DType::kBool:
      return MergeBools;
    default:
      return nullptr;
  }
}

}  // namespace

absl::StatusOr<AxisIndices> ReadAxisIndices(RunContext& ctx, const Shape& data) {
  AxisIndices out;
  if (!ctx.Has(1) || !ctx.In(1).IsTensor()) return ctx.Error("indices must be a tensor");
  out.dims = ctx.In(1).dims;
  const auto rank = static_cast<int64_t>(data.size());
  const auto axis = NormalAxis(ctx.node().IntAttribute("axis", 0), rank);
  if (!axis || out.dims.size() != data.size()) {
    return ctx.Error("data and indices must be of one rank, with the axis within it");
  }
  out.axis = static_cast<size_t>(*axis);
  for (size_t i = 0; i < data.size(); ++i) {
    if (i != out.axis && out.dims[i] > data[i]) {
      return ctx.Error(absl::StrCat("the indices are longer than the data along axis ", i));
    }
  }
  out.strides = Strides(data);
  ASSIGN_OR_RETURN(out.indices, ReadIndices(ctx, 1, data[out.axis]));
  return out;
}

absl::StatusOr<std::vector<int64_t>> ReadTuples(RunContext& ctx, size_t i, const Shape& data,
                                                size_t first) {
  ASSIGN_OR_RETURN(const std::vector<int64_t> indices, ctx.Ints(i));
  const Shape& dims = ctx.In(i).dims;
  const auto rank = static_cast<int64_t>(data.size() - first);
  if (dims.empty() || dims.back() < 1 || dims.back() > rank) {
    return ctx.Error(absl::StrCat("the last axis of the indices must have 1 to ", rank,
                                  " elements, one for each axis that they index"));
  }
  const auto depth = static_cast<size_t>(dims.back());
  std::vector<int64_t> out;
  out.reserve(indices.size() / depth);
  for (size_t at = 0; at < indices.size(); at += depth) {
    int64_t position = 0;
    for (size_t d = 0; d < depth; ++d) {
      const int64_t extent = data[first + d];
      int64_t index = indices[at + d];
      if (index < -extent || index >= extent) {
        return ctx.Error(absl::StrCat("index ", index, " lies outside of [", -extent, ", ", extent,
                                      ") of axis ", first + d));
      }
      if (index < 0) index += extent;
      position = position * extent + index;
    }
    out.push_back(position);
  }
  return out;
}

absl::Status RunScatterElements(RunContext& ctx) {
  ASSIGN_OR_RETURN(const Merge merge, ReadMerge(ctx));
  ASSIGN_OR_RETURN(const Elements data, ReadElements(ctx, 0));
  ASSIGN_OR_RETURN(const AxisIndices at, ReadAxisIndices(ctx, data.dims));
  ASSIGN_OR_RETURN(const Elements updates, ReadElements(ctx, 2));
  if (updates.dtype != data.dtype || updates.dims != at.dims) {
    return ctx.Error("updates must be of the data's type and the indices' shape");
  }
  const MergeFn merge_fn = MergeOf(data.dtype);
  if (merge != Merge::kReplace && merge_fn == nullptr) {
    return ctx.Error("a reduction takes numbers");
  }
  ASSIGN_OR_RETURN(ElementsOut out, ElementsOut::MakeCopy(ctx, 0, data, 0));
  if (merge != Merge::kReplace) {
    at.ForEach([&](int64_t i, int64_t position) {
      merge_fn(merge, 1, updates.data + i * data.width, out.data() + position * data.width);
    });
    return out.Finish(ctx);
  }
  ByWidth(data.width, [&](auto word) {
    using T = decltype(word);
    const auto* from = reinterpret_cast<const T*>(updates.data);
    auto* to = reinterpret_cast<T*>(out.data());
    at.ForEach([&](int64_t i, int64_t position) { to[position] = from[i]; });
  });
  return out.Finish(ctx);
}

absl::Status RunScatterND(RunContext& ctx) {
  ASSIGN_OR_RETURN(const Merge merge, ReadMerge(ctx));
  ASSIGN_OR_RETURN(const Elements data, ReadElements(ctx, 0));
  ASSIGN_OR_RETURN(const std::vector<int64_t> tuples, ReadTuples(ctx, 1, data.dims, 0));
  ASSIGN_OR_RETURN(const Elements updates, ReadElements(ctx, 2));
  Shape dims = ctx.In(1).dims;
  const int64_t depth = dims.back();
  dims.pop_back();
  dims.insert(dims.end(), data.dims.begin() + depth, data.dims.end());
  if (updates.dtype != data.dtype || updates.dims != dims) {
    return ctx.Error(
        "updates must be of the data's type, and of the shape of the indices without their last "
        "axis followed by the data's axes that are not indexed");
  }
  const MergeFn merge_fn = MergeOf(data.dtype);
  if (merge != Merge::kReplace && merge_fn == nullptr) {
    return ctx.Error("a reduction takes numbers");
  }
  ASSIGN_OR_RETURN(ElementsOut out, ElementsOut::MakeCopy(ctx, 0, data, 0));
  const int64_t block = ExtentProduct(data.dims, static_cast<size_t>(depth), data.dims.size());
  const int64_t bytes = block * data.width;
  if (bytes == 0) return out.Finish(ctx);
  for (size_t i = 0; i < tuples.size(); ++i) {
    const char* from = updates.data + static_cast<int64_t>(i) * bytes;
    char* to = out.data() + tuples[i] * bytes;
    if (merge == Merge::kReplace) {
      std::memcpy(to, from, static_cast<size_t>(bytes));
    } else {
      merge_fn(merge, block, from, to);
    }
  }
  return out.Finish(ctx);
}

// past_cache [batch, ..., max_length, ...] with update [batch, ..., length, ...] written from
// write_indices[batch] on.
absl::Status RunTensorScatter(RunContext& ctx) {
  ASSIGN_OR_RETURN(const Elements past, ReadElements(ctx, 0));
  ASSIGN_OR_RETURN(const Elements update, ReadElements(ctx, 1));
  const std::string mode = ctx.node().StringAttribute("mode", "linear");
  if (mode != "linear" && mode != "circular") {
    return ctx.Error(absl::StrCat("mode must be linear or circular, not '", mode, "'"));
  }
  const auto axis = NormalAxis(ctx.node().IntAttribute("axis", -2),
                               static_cast<int64_t>(past.dims.size()));
  if (!axis || *axis == 0 || update.dims.size() != past.dims.size() ||
      update.dtype != past.dtype) {
    return ctx.Error(
        "past_cache and update must be of one type and rank, with the axis within it and not 0");
  }
  for (size_t i = 0; i < past.dims.size(); ++i) {
    const bool fits = static_cast<int64_t>(i) == *axis ? update.dims[i] <= past.dims[i]
                                                       : update.dims[i] == past.dims[i];
    if (!fits) return ctx.Error(absl::StrCat("update does not fit past_cache along axis ", i));
  }
  const int64_t longest = past.dims[*axis];
  const int64_t length = update.dims[*axis];
  std::vector<int64_t> starts(static_cast<size_t>(past.dims[0]), 0);
  if (ctx.Has(2)) {
    ASSIGN_OR_RETURN(starts, ctx.Ints(2));
  }
  if (static_cast<int64_t>(starts.size()) != past.dims[0]) {
    return ctx.Error("write_indices must have one element for each of the batch");
  }
  for (const int64_t start : starts) {
    if (start < 0 || start >= kMaxExtent ||
        (mode == "linear" && start + length > longest)) {
      return ctx.Error(absl::StrCat("a write index of ", start, " is out of range"));
    }
  }
  ASSIGN_OR_RETURN(ElementsOut out, ElementsOut::MakeCopy(ctx, 0, past, 0));
  const int64_t bytes =
      ExtentProduct(past.dims, static_cast<size_t>(*axis) + 1, past.dims.size()) * past.width;
  const int64_t rows = ExtentProduct(past.dims, 0, static_cast<size_t>(*axis));
  if (update.count == 0) return out.Finish(ctx);
  const int64_t rows_per_batch = rows / past.dims[0];
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t t = 0; t < length; ++t) {
      const int64_t at = (starts[row / rows_per_batch] + t) % longest;
      std::memcpy(out.data() + (row * longest + at) * bytes,
                  update.data + (row * length + t) * bytes, static_cast<size_t>(bytes));
    }
  }
  return out.Finish(ctx);
}

}  // namespace lathe::engine
