// Pad: negative amounts crop; what is left is then extended, by a constant or by its own elements.
// Each axis has a table that says which input position an output position shows, or none.
#include "worker/engine/ops/forward/pad.h"

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "worker/engine/ops/forward/elements.h"
#include "worker/engine/ops/op_context.h"

namespace lathe::engine {
namespace {

constexpr int64_t kFill = -1;

struct PadAxis {
  std::vector<int64_t> source;  // of every output position: an input position, or kFill
  // Output positions [inner_begin, inner_end) show consecutive input positions.
  int64_t inner_begin = 0;
  int64_t inner_end = 0;
};

// Where position `i` of an axis without ends lies in [0, extent). extent >= 1.
int64_t Reflect(int64_t i, int64_t extent) {
  if (extent == 1) return 0;
  const int64_t period = 2 * (extent - 1);
  const int64_t at = (i % period + period) % period;
  return at < extent ? at : period - at;
}

int64_t Extend(const std::string& mode, int64_t i, int64_t extent) {
  if (i >= 0 && i < extent) return i;
  if (mode == "edge") return i < 0 ? 0 : extent - 1;
  if (mode == "reflect") return Reflect(i, extent);
  if (mode == "wrap") return (i % extent + extent) % extent;
  return kFill;
}

// Repeats an element of `width` bytes.
void Fill(char* to, int64_t count, const char* element, int64_t width) {
  ByWidth(width, [&](auto word) {
    using T = decltype(word);
    T value;
    std::memcpy(&value, element, sizeof(T));
    std::fill_n(reinterpret_cast<T*>(to), count, value);
  });
}

class Padder {
 public:
  Padder(const std::vector<PadAxis>& axes, const Elements& in, int64_t block, const char* fill)
      : axes_(axes), in_(in), block_(block), fill_(fill) {}

  // Output rows from `axis` on, whose input is at `from` (nullptr: all fill) and takes
  // `from_row` bytes. Returns past them.
  char* Write(size_t axis, const char* from, int64_t from_row, char* to) const {
    if (from == nullptr) {
      int64_t count = block_;
      for (size_t i = axis; i < axes_.size(); ++i) {
        count *= static_cast<int64_t>(axes_[i].source.size());
      }
      Fill(to, count, fill_, in_.width);
      return to + count * in_.width;
    }
    const PadAxis& pad = axes_[axis];
    const int64_t bytes = block_ * in_.width;
    const bool last = axis + 1 == axes_.size();
    const int64_t row = last ? bytes : from_row / std::max<int64_t>(1, in_.dims[axis]);
    const auto count = static_cast<int64_t>(pad.source.size());
    for (int64_t i = 0; i < count; ++i) {
      const bool fill = pad.source[i] == kFill;
      const char* source = fill ? nullptr : from + pad.source[i] * row;
      if (!last) {
        to = Write(axis + 1, source, row, to);
        continue;
      }
      if (fill) {
        Fill(to, block_, fill_, in_.width);
        to += bytes;
        continue;
      }
      const int64_t run = i == pad.inner_begin ? pad.inner_end - pad.inner_begin : 1;
      std::memcpy(to, source, static_cast<size_t>(run * bytes));
      to += run * bytes;
      i += run - 1;
    }
    return to;
  }

 private:
  const std::vector<PadAxis>& axes_;
  const Elements& in_;
  int64_t block_;     // elements after the last axis
  const char* fill_;  // one element
};

// The element that constant mode fills with; zero bits by default.
absl::Status ReadFill(RunContext& ctx, const Elements& in, Elements& held, char* fill) {
  std::memset(fill, 0, sizeof(Word128));
  if (ctx.Has(2)) {
    ASSIGN_OR_RETURN(held, ReadElements(ctx, 2));
    if (held.dtype != in.dtype || held.count != 1) {
      return ctx.Error("constant_value must be one element of the data's type");
    }
    std::memcpy(fill, held.data, static_cast<size_t>(held.width));
    return absl::OkStatus();
  }
  const float value = ctx.node().FloatAttribute("value", 0);  // up to opset 10, of float types
  if (value == 0) return absl::OkStatus();
  if (in.dtype == DType::kFloat) {
    std::memcpy(fill, &value, sizeof(value));
  } else if (in.dtype == DType::kDouble) {
    const double wide = value;
    std::memcpy(fill, &wide, sizeof(wide));
  } else if (in.dtype == DType::kFloat16 || in.dtype == DType::kBfloat16) {
    const uint16_t half = in.dtype == DType::kFloat16 ? FloatToHalf(value) : FloatToBfloat16(value);
    std::memcpy(fill, &half, sizeof(half));
  } else {
    return ctx.Error("the attribute value takes data of a float type");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status RunPad(RunContext& ctx) {
  const std::string mode = ctx.node().StringAttribute("mode", "constant");
  if (mode != "constant" && mode != "edge" && mode != "reflect" && mode != "wrap") {
    return ctx.Error(
        absl::StrCat("mode must be constant, edge, reflect or wrap, not '", mode, "'"));
  }
  ASSIGN_OR_RETURN(Elements in, ReadElements(ctx, 0));
  ASSIGN_OR_RETURN(ElementsOut out, ElementsOut::Make(ctx, 0));
  ASSIGN_OR_RETURN(const PadAmounts pads, ReadPadAmounts(ctx));
  Elements held;
  alignas(16) char fill[sizeof(Word128)];
  RETURN_IF_ERROR(ReadFill(ctx, in, held, fill));
  if (out.count() == 0) return out.Finish(ctx);

  // Axes at the end that stay as they are make wide elements.
  size_t padded = in.dims.size();
  while (padded > 0 && pads.begin[padded - 1] == 0 && pads.end[padded - 1] == 0) --padded;
  const int64_t block = ExtentProduct(in.dims, padded, in.dims.size());
  if (padded == 0) {
    std::memcpy(out.data(), in.data, static_cast<size_t>(in.count * in.width));
    return out.Finish(ctx);
  }
  std::vector<PadAxis> axes(padded);
  for (size_t i = 0; i < padded; ++i) {
    const int64_t cropped = std::max<int64_t>(0, -pads.begin[i]);
    const int64_t kept = in.dims[i] - cropped - std::max<int64_t>(0, -pads.end[i]);
    if (mode != "constant" && kept < 1) return ctx.Error("there is nothing to extend");
    const int64_t before = std::max<int64_t>(0, pads.begin[i]);
    axes[i].source.resize(static_cast<size_t>(out.dims()[i]));
    for (int64_t k = 0; k < out.dims()[i]; ++k) {
      // A crop past the other end (kept < 0) leaves fill alone.
      const int64_t from = kept < 1 ? kFill : Extend(mode, k - before, kept);
      axes[i].source[k] = from == kFill ? kFill : from + cropped;
    }
    axes[i].inner_begin = before;
    axes[i].inner_end = std::min(before + std::max<int64_t>(kept, 0), out.dims()[i]);
  }
  Padder(axes, in, block, fill)
      .Write(0, in.data, ExtentProduct(in.dims, 0, padded) * block * in.width, out.data());
  return out.Finish(ctx);
}

}  // namespace lathe::engine
