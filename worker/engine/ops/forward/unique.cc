// The different elements of a tensor, or the different slices along an axis: sorted, or in the order
// in which each comes first.
#include "worker/engine/ops/forward/unique.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <string>
#include <vector>

#include "common/status_macros.h"
#include "worker/engine/ops/forward/elements.h"
#include "worker/engine/ops/forward/ordered_key.h"
#include "worker/engine/ops/op_context.h"

namespace lathe::engine {
namespace {

// Slices along one axis of [rows, slices, block].
struct Slices {
  const Elements& in;
  int64_t rows = 1;
  int64_t count = 0;
  int64_t block = 1;

  const char* At(int64_t slice, int64_t row, int64_t k) const {
    return in.data + ((row * count + slice) * block + k) * in.width;
  }
  // Negative, 0 or positive, as slice `a` comes before, with or after `b`.
  int Compare(int64_t a, int64_t b) const {
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t k = 0; k < block; ++k) {
        const int order = CompareElements(At(a, row, k), At(b, row, k));
        if (order != 0) return order;
      }
    }
    return 0;
  }

 private:
  int CompareElements(const char* a, const char* b) const {
    if (in.dtype == DType::kString) {
      const std::string* pair[2];
      std::memcpy(&pair[0], a, sizeof(pair[0]));
      std::memcpy(&pair[1], b, sizeof(pair[1]));
      return pair[0]->compare(*pair[1]);
    }
    const uint64_t key_a = OrderedKey(in.dtype, a);
    const uint64_t key_b = OrderedKey(in.dtype, b);
    return key_a < key_b ? -1 : key_a > key_b ? 1 : 0;
  }

 public:
  Slices(const Elements& elements, int64_t r, int64_t c, int64_t b)
      : in(elements), rows(r), count(c), block(b) {}
};

absl::Status SetInts(RunContext& ctx, size_t i, const std::vector<int64_t>& ints) {
  if (!ctx.Wants(i)) return absl::OkStatus();
  ASSIGN_OR_RETURN(Value * out,
                   ctx.Out(i, DType::kInt64, {static_cast<int64_t>(ints.size())}));
  std::copy(ints.begin(), ints.end(), out->Mutable<int64_t>().begin());
  return absl::OkStatus();
}

}  // namespace

absl::Status RunUnique(RunContext& ctx) {
  ASSIGN_OR_RETURN(const Elements in, ReadElements(ctx, 0));
  if (!HasOrder(in.dtype) && in.dtype != DType::kString) {
    return ctx.Error("it takes numbers and strings");
  }
  Shape dims = {in.count};
  int64_t axis = 0;
  if (ctx.node().FindAttribute("axis") != nullptr) {
    dims = in.dims;
    const auto given = NormalAxis(ctx.node().IntAttribute("axis", 0),
                                  static_cast<int64_t>(dims.size()));
    if (!given) return ctx.Error("axis lies outside of the input's rank");
    axis = *given;
  }
  const Slices slices(in, ExtentProduct(dims, 0, axis), dims[axis],
                      ExtentProduct(dims, axis + 1, dims.size()));
  RETURN_IF_ERROR(ctx.Scratch(slices.count * int64_t{4 * sizeof(int64_t)}).status());
  std::vector<int64_t> order(static_cast<size_t>(slices.count));
  std::iota(order.begin(), order.end(), int64_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return slices.Compare(a, b) < 0; });
  // Groups of equal slices, each in the input's order.
  std::vector<int64_t> first;
  std::vector<int64_t> counts;
  std::vector<int64_t> inverse(order.size());
  for (const int64_t slice : order) {
    if (first.empty() || slices.Compare(first.back(), slice) != 0) {
      first.push_back(slice);
      counts.push_back(0);
    }
    ++counts.back();
    inverse[slice] = static_cast<int64_t>(first.size()) - 1;
  }
  const size_t groups = first.size();
  if (ctx.node().IntAttribute("sorted", 1) == 0) {
    std::vector<int64_t> place(groups);
    std::iota(place.begin(), place.end(), int64_t{0});
    std::sort(place.begin(), place.end(),
              [&](int64_t a, int64_t b) { return first[a] < first[b]; });
    std::vector<int64_t> rank(groups);
    std::vector<int64_t> new_first(groups);
    std::vector<int64_t> new_counts(groups);
    for (size_t i = 0; i < groups; ++i) {
      rank[place[i]] = static_cast<int64_t>(i);
      new_first[i] = first[place[i]];
      new_counts[i] = counts[place[i]];
    }
    for (int64_t& group : inverse) group = rank[group];
    first = std::move(new_first);
    counts = std::move(new_counts);
  }
  dims[axis] = static_cast<int64_t>(groups);
  ASSIGN_OR_RETURN(ElementsOut out, ElementsOut::Make(ctx, 0, in.dtype, dims));
  const auto bytes = static_cast<size_t>(slices.block * in.width);
  char* to = out.data();
  for (int64_t row = 0; row < slices.rows && out.count() > 0; ++row) {
    for (const int64_t slice : first) {
      std::memcpy(to, slices.At(slice, row, 0), bytes);
      to += bytes;
    }
  }
  RETURN_IF_ERROR(out.Finish(ctx));
  RETURN_IF_ERROR(SetInts(ctx, 1, first));
  RETURN_IF_ERROR(SetInts(ctx, 2, inverse));
  return SetInts(ctx, 3, counts);
}

}  // namespace lathe::engine
