// Elements chosen by their values: the largest, those that are not zero. Unique and
// NonMaxSuppression have files of their own.
#include <algorithm>
#include <cstring>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/engine/ops/forward/elements.h"
#include "worker/engine/ops/forward/forward.h"
#include "worker/engine/ops/forward/non_max_suppression.h"
#include "worker/engine/ops/forward/ordered_key.h"
#include "worker/engine/ops/forward/unique.h"
#include "worker/engine/ops/op_context.h"

namespace lathe::engine {
namespace {

struct Ranked {
  uint64_t key;
  int64_t index;
};

// Puts the k best of `all` first, best first. Of equals the one with the lower index is better.
template <typename Better>
void SelectBest(std::vector<Ranked>& all, int64_t k, const Better& better) {
  const auto middle = all.begin() + k;
  const auto size = static_cast<int64_t>(all.size());
  if (k * 16 < size) {
    std::partial_sort(all.begin(), middle, all.end(), better);
    return;
  }
  if (k < size) std::nth_element(all.begin(), middle, all.end(), better);
  std::sort(all.begin(), middle, better);
}

// Sorted whatever `sorted` says: without it any order is right.
absl::Status RunTopK(RunContext& ctx) {
  ASSIGN_OR_RETURN(const Elements in, ReadElements(ctx, 0));
  if (!HasOrder(in.dtype)) return ctx.Error("it takes numbers");
  const auto axis = NormalAxis(ctx.node().IntAttribute("axis", -1),
                               static_cast<int64_t>(in.dims.size()));
  if (!axis) return ctx.Error("axis lies outside of the input's rank");
  int64_t k = ctx.node().IntAttribute("k", 0);
  if (ctx.node().FindAttribute("k") == nullptr) {
    ASSIGN_OR_RETURN(const std::vector<int64_t> given, ctx.Ints(1));
    if (given.size() != 1) return ctx.Error("k must be one number");
    k = given[0];
  }
  const int64_t extent = in.dims[*axis];
  if (k < 0 || k > extent) {
    return ctx.Error(absl::StrCat("k is ", k, ", and the axis has ", extent, " elements"));
  }
  Shape dims = in.dims;
  dims[*axis] = k;
  ASSIGN_OR_RETURN(Value * values, ctx.Out(0, in.dtype, dims));
  ASSIGN_OR_RETURN(Value * indices, ctx.Out(1, DType::kInt64, dims));
  if (values->size() == 0) return absl::OkStatus();
  const bool largest = ctx.node().IntAttribute("largest", 1) != 0;
  const int64_t rows = ExtentProduct(in.dims, 0, *axis);
  const int64_t block = ExtentProduct(in.dims, *axis + 1, in.dims.size());
  int64_t* found = indices->Mutable<int64_t>().data();
  char* to = values->buffer->data();
  std::vector<Ranked> all(static_cast<size_t>(extent));
  for (int64_t line = 0; line < rows * block; ++line) {
    const int64_t row = line / block;
    const int64_t column = line % block;
    const char* from = in.data + (row * extent * block + column) * in.width;
    for (int64_t i = 0; i < extent; ++i) {
      all[i] = {OrderedKey(in.dtype, from + i * block * in.width), i};
    }
    if (largest) {
      SelectBest(all, k, [](const Ranked& a, const Ranked& b) {
        return a.key != b.key ? a.key > b.key : a.index < b.index;
      });
    } else {
      SelectBest(all, k, [](const Ranked& a, const Ranked& b) {
        return a.key != b.key ? a.key < b.key : a.index < b.index;
      });
    }
    for (int64_t i = 0; i < k; ++i) {
      const int64_t at = (row * k + i) * block + column;
      found[at] = all[i].index;
      std::memcpy(to + at * in.width, from + all[i].index * block * in.width,
                  static_cast<size_t>(in.width));
    }
  }
  return absl::OkStatus();
}

// Output [rank, found]: the coordinates of the elements that are not zero, in row-major order.
absl::Status RunNonZero(RunContext& ctx) {
  ASSIGN_OR_RETURN(const Elements in, ReadElements(ctx, 0));
  if (!HasOrder(in.dtype)) return ctx.Error("it takes numbers");
  constexpr char kZero[8] = {};
  const uint64_t zero = OrderedKey(in.dtype, kZero);
  const auto is_set = [&](int64_t i) {
    return OrderedKey(in.dtype, in.data + i * in.width) != zero;
  };
  int64_t found = 0;
  for (int64_t i = 0; i < in.count; ++i) found += is_set(i) ? 1 : 0;
  const auto rank = static_cast<int64_t>(in.dims.size());
  ASSIGN_OR_RETURN(Value * out, ctx.Out(0, DType::kInt64, {rank, found}));
  int64_t* to = out->Mutable<int64_t>().data();
  std::vector<int64_t> at(in.dims.size(), 0);
  int64_t column = 0;
  for (int64_t i = 0; i < in.count; ++i) {
    if (is_set(i)) {
      for (int64_t d = 0; d < rank; ++d) to[d * found + column] = at[d];
      ++column;
    }
    for (int64_t d = rank; d-- > 0;) {
      if (++at[d] < in.dims[d]) break;
      at[d] = 0;
    }
  }
  return absl::OkStatus();
}

constexpr OpForward kForwards[] = {
    {"", "NonMaxSuppression", RunNonMaxSuppression},
    {"", "NonZero", RunNonZero},
    {"", "TopK", RunTopK},
    {"", "Unique", RunUnique},
};

}  // namespace

std::span<const OpForward> SelectionForwards() { return kForwards; }

}  // namespace lathe::engine
