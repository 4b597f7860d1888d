#include "worker/engine/methods/input_rows.h"

#include <algorithm>

namespace lathe::engine {
namespace {

int64_t Product(const Shape& dims, size_t from, size_t to) {
  int64_t product = 1;
  for (size_t i = from; i < to; ++i) product *= dims[i];
  return product;
}

// Axes of a convolution's window.
struct Axis {
  int64_t in = 1;
  int64_t out = 1;
  int64_t kernel = 1;
  int64_t stride = 1;
  int64_t dilation = 1;
  int64_t pad = 0;  // before the first element
};

// Empty where the attributes are not those of the shapes; the node ran, so that they are in range.
std::vector<Axis> WindowOf(const WeightUse& use, const Shape& in, const Shape& out) {
  const size_t count = use.dims.size() - 2;
  if (in.size() != count + 2 || out.size() != count + 2) return {};
  const Shape strides = use.node->IntsAttribute("strides");
  const Shape dilations = use.node->IntsAttribute("dilations");
  const Shape pads = use.node->IntsAttribute("pads");
  const std::string auto_pad = use.node->StringAttribute("auto_pad", "NOTSET");
  std::vector<Axis> axes(count);
  for (size_t i = 0; i < count; ++i) {
    Axis& axis = axes[i];
    axis.in = in[i + 2];
    axis.out = out[i + 2];
    axis.kernel = use.dims[i + 2];
    if (i < strides.size()) axis.stride = strides[i];
    if (i < dilations.size()) axis.dilation = dilations[i];
    if (auto_pad == "SAME_UPPER" || auto_pad == "SAME_LOWER") {
      const int64_t reach = (axis.out - 1) * axis.stride + (axis.kernel - 1) * axis.dilation + 1;
      const int64_t total = std::max<int64_t>(0, reach - axis.in);
      axis.pad = auto_pad == "SAME_UPPER" ? total / 2 : total - total / 2;
    } else if (auto_pad != "VALID" && i < pads.size()) {
      axis.pad = pads[i];
    }
  }
  return axes;
}

std::vector<float> ReadPatches(const WeightUse& use, const InputUse& how, const Value& x,
                               const Shape& out_dims, int64_t first, int64_t step, int64_t most) {
  const std::vector<Axis> axes = WindowOf(use, x.dims, out_dims);
  if (axes.empty() || x.dims[1] != how.parts * use.dims[1]) return {};
  const int64_t positions = Product(out_dims, 2, out_dims.size());
  const int64_t volume = Product(x.dims, 2, x.dims.size());
  const int64_t taps = Product(use.dims, 2, use.dims.size());
  const int64_t channels = use.dims[1];
  const int64_t all = x.dims[0] * positions;
  const int64_t rows = first < all ? std::min(most, (all - first + step - 1) / step) : 0;
  std::vector<float> out(static_cast<size_t>(how.parts * rows * how.length), 0.0F);
  std::vector<int64_t> offsets(static_cast<size_t>(taps));  // within a channel; -1: padding
  const auto* const values = reinterpret_cast<const float*>(x.data);
  for (int64_t i = 0; i < rows; ++i) {
    const int64_t row = first + i * step;
    const int64_t example = row / positions;
    for (int64_t tap = 0; tap < taps; ++tap) {
      int64_t offset = 0;
      int64_t stride = 1;
      int64_t place = row % positions;
      int64_t of_kernel = tap;
      for (size_t a = axes.size(); a-- > 0;) {
        const Axis& axis = axes[a];
        const int64_t at =
            place % axis.out * axis.stride + of_kernel % axis.kernel * axis.dilation - axis.pad;
        if (at < 0 || at >= axis.in) {
          offset = -1;
          break;
        }
        offset += at * stride;
        stride *= axis.in;
        place /= axis.out;
        of_kernel /= axis.kernel;
      }
      offsets[static_cast<size_t>(tap)] = offset;
    }
    for (int64_t part = 0; part < how.parts; ++part) {
      float* to = out.data() + (part * rows + i) * how.length;
      const float* from = values + (example * x.dims[1] + part * channels) * volume;
      for (int64_t c = 0; c < channels; ++c, from += volume) {
        for (const int64_t offset : offsets) *to++ = offset < 0 ? 0.0F : from[offset];
      }
    }
  }
  return out;
}

// The axis of K, and the elements behind it.
struct Columns {
  size_t axis = 0;
  int64_t inner = 1;
};
Columns ColumnsOf(const WeightUse& use, const Shape& dims) {
  Columns columns;
  columns.axis = use.role == WeightRole::kConvTranspose ? 1 : dims.size() < 2 ? 0 : dims.size() - 2;
  if (columns.axis < dims.size()) columns.inner = Product(dims, columns.axis + 1, dims.size());
  return columns;
}

}  // namespace

InputUse InputUseOf(const WeightUse& use) {
  InputUse how;
  if (use.reduction_axis >= 0) how.length = use.dims[static_cast<size_t>(use.reduction_axis)];
  switch (use.role) {
    case WeightRole::kConv:
      how.form = InputForm::kPatches;
      how.parts = use.groups;
      how.length = Product(use.dims, 1, use.dims.size());
      break;
    case WeightRole::kConvTranspose:
      if (use.groups == 1) how.form = InputForm::kColumns;
      break;
    case WeightRole::kGemmB:
      how.form = use.node->IntAttribute("transA", 0) != 0 ? InputForm::kColumns : InputForm::kRows;
      break;
    case WeightRole::kMatMulRight:
      if (use.dims.size() == 2) how.form = InputForm::kRows;
      break;
    case WeightRole::kMatMulLeft:
      how.input = 1;
      if (use.dims.size() == 2) how.form = InputForm::kColumns;
      break;
    case WeightRole::kEmbedding:
      how.form = InputForm::kIndices;
      how.input = 1;
      how.length = use.dims[0];
      break;
    case WeightRole::kRnnInput:
      how.form = InputForm::kRows;
      break;
    case WeightRole::kRnnRecurrent:
      break;  // its input is the state, which no edge carries
  }
  return how;
}

int64_t CountInputRows(const InputUse& how, const Value& x, const Shape& out_dims) {
  if (how.form == InputForm::kPatches) {
    return x.dims.empty() || out_dims.size() < 3
               ? 0
               : x.dims[0] * Product(out_dims, 2, out_dims.size());
  }
  return how.length == 0 ? 0 : x.size() / how.length;
}

std::vector<float> ReadInputRows(const WeightUse& use, const InputUse& how, const Value& x,
                                 const Shape& out_dims, int64_t first, int64_t step, int64_t most) {
  if (how.form == InputForm::kPatches) {
    return ReadPatches(use, how, x, out_dims, first, step, most);
  }
  if (x.dims.empty() || how.length == 0) return {};
  const auto* const values = reinterpret_cast<const float*>(x.data);
  const int64_t all = x.size() / how.length;
  const int64_t rows = first < all ? std::min(most, (all - first + step - 1) / step) : 0;
  std::vector<float> out(static_cast<size_t>(rows * how.length));
  if (how.form == InputForm::kRows) {
    if (x.dims.back() != how.length) return {};
    for (int64_t i = 0; i < rows; ++i) {
      std::copy_n(values + (first + i * step) * how.length, how.length,
                  out.data() + i * how.length);
    }
    return out;
  }
  const Columns columns = ColumnsOf(use, x.dims);
  if (columns.axis >= x.dims.size() || x.dims[columns.axis] != how.length) return {};
  for (int64_t i = 0; i < rows; ++i) {
    const int64_t row = first + i * step;
    const float* const from =
        values + row / columns.inner * how.length * columns.inner + row % columns.inner;
    for (int64_t k = 0; k < how.length; ++k) {
      out[static_cast<size_t>(i * how.length + k)] = from[k * columns.inner];
    }
  }
  return out;
}

}  // namespace lathe::engine
