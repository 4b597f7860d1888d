// Col2Im: blocks added up where they overlap. Input [N, C product(block), L], the L blocks in the
// order of their places, output [N, C, image...]; what falls into the padding is dropped.
#include "worker/engine/ops/forward/col2im.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/engine/ops/forward/elements.h"
#include "worker/engine/ops/op_context.h"

namespace lathe::engine {
namespace {

struct Blocks {
  Shape image;
  Shape block;
  Shape places;  // where blocks start, along each axis
  std::vector<int64_t> strides;
  std::vector<int64_t> dilations;
  std::vector<int64_t> pads;
};

absl::StatusOr<Blocks> ReadBlocks(RunContext& ctx) {
  Blocks out;
  ASSIGN_OR_RETURN(out.image, ctx.Ints(1));
  ASSIGN_OR_RETURN(out.block, ctx.Ints(2));
  const size_t axes = out.image.size();
  out.strides = ctx.node().IntsAttribute("strides", std::vector<int64_t>(axes, 1));
  out.dilations = ctx.node().IntsAttribute("dilations", std::vector<int64_t>(axes, 1));
  out.pads = ctx.node().IntsAttribute("pads", std::vector<int64_t>(2 * axes, 0));
  if (axes == 0 || out.block.size() != axes || out.strides.size() != axes ||
      out.dilations.size() != axes || out.pads.size() != 2 * axes) {
    return ctx.Error("block_shape, strides, dilations and pads must fit image_shape");
  }
  for (size_t i = 0; i < axes; ++i) {
    constexpr int64_t kMost = int64_t{1} << 31;
    const int64_t before = out.pads[i];
    const int64_t after = out.pads[i + axes];
    if (out.strides[i] < 1 || out.dilations[i] < 1 || out.block[i] < 1 ||
        out.dilations[i] > kMost || out.block[i] > kMost || before < 0 || after < 0 ||
        before > kMost || after > kMost) {
      return ctx.Error(absl::StrCat("an attribute of axis ", i, " is out of range"));
    }
    const int64_t room = out.image[i] + before + after - out.dilations[i] * (out.block[i] - 1) - 1;
    if (room < 0) return ctx.Error(absl::StrCat("the block is larger than axis ", i));
    out.places.push_back(room / out.strides[i] + 1);
  }
  return out;
}

// Goes to the next position of `dims`; back to the first after the last.
void Advance(const Shape& dims, std::vector<int64_t>& at) {
  for (size_t i = dims.size(); i-- > 0;) {
    if (++at[i] < dims[i]) return;
    at[i] = 0;
  }
}

template <typename T>
void AddBlocks(const Blocks& blocks, int64_t planes, const T* x, T* y) {
  const size_t axes = blocks.image.size();
  const std::vector<int64_t> image_strides = Strides(blocks.image);
  const int64_t area = ExtentProduct(blocks.image, 0, axes);
  const int64_t elements = ExtentProduct(blocks.block, 0, axes);
  const int64_t places = ExtentProduct(blocks.places, 0, axes);
  std::fill_n(y, planes * area, T{0});
  for (int64_t plane = 0; plane < planes; ++plane, y += area) {
    std::vector<int64_t> element(axes, 0);
    for (int64_t e = 0; e < elements; ++e, Advance(blocks.block, element)) {
      std::vector<int64_t> place(axes, 0);
      for (int64_t p = 0; p < places; ++p, ++x, Advance(blocks.places, place)) {
        int64_t at = 0;
        bool inside = true;
        for (size_t d = 0; d < axes; ++d) {
          const int64_t i =
              place[d] * blocks.strides[d] + element[d] * blocks.dilations[d] - blocks.pads[d];
          inside = inside && i >= 0 && i < blocks.image[d];
          at += i * image_strides[d];
        }
        if (inside) y[at] += *x;
      }
    }
  }
}

}  // namespace

absl::Status RunCol2Im(RunContext& ctx) {
  ASSIGN_OR_RETURN(Value * out, ctx.Out(0));
  ASSIGN_OR_RETURN(const Blocks blocks, ReadBlocks(ctx));
  const Value& in = ctx.In(0);
  const auto places = IsPlausible(blocks.places)
                          ? ExtentProduct(blocks.places, 0, blocks.places.size())
                          : int64_t{-1};
  if (in.dims[2] != places) {
    return ctx.Error(absl::StrCat("the input must have ", places, " blocks, and has ", in.dims[2]));
  }
  if (out->size() == 0) return absl::OkStatus();
  const int64_t planes = out->dims[0] * out->dims[1];
  switch (in.dtype) {
    case DType::kFloat:
      AddBlocks(blocks, planes, in.As<float>().data(), out->Mutable<float>().data());
      break;
    case DType::kDouble:
      AddBlocks(blocks, planes, in.As<double>().data(), out->Mutable<double>().data());
      break;
    default:
      return ctx.Unsupported("it takes floats");
  }
  return absl::OkStatus();
}

}  // namespace lathe::engine
