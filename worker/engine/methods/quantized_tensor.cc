#include "worker/engine/methods/quantized_tensor.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

namespace lathe::engine {
namespace {

int64_t Product(const Shape& dims, size_t from, size_t to) {
  return std::accumulate(dims.begin() + static_cast<int64_t>(from),
                         dims.begin() + static_cast<int64_t>(to), int64_t{1},
                         std::multiplies<int64_t>());
}

// Axes of the source that a per-channel scale keeps apart: the output channels, and what is stacked
// (directions, batches).
std::vector<bool> ChannelAxes(const Weight& weight) {
  const WeightUse& use = weight.uses[0];
  std::vector<bool> kept(weight.dims.size(), false);
  if (use.source_output_axis >= 0) kept[static_cast<size_t>(use.source_output_axis)] = true;
  const bool stacked = use.role == WeightRole::kRnnInput || use.role == WeightRole::kRnnRecurrent ||
                       use.role == WeightRole::kMatMulLeft || use.role == WeightRole::kMatMulRight;
  if (stacked && use.source_output_axis >= 0) {
    for (size_t axis = 0; axis < kept.size(); ++axis)
      kept[axis] = static_cast<int>(axis) != use.source_reduction_axis;
  }
  return kept;
}

// Moves the kept axes to the front: rows of what shares a scale. `forward`: from source to rows;
// otherwise back.
template <typename T>
void MoveAxes(const T* in, const Shape& dims, const std::vector<bool>& kept, bool forward, T* out) {
  std::vector<size_t> order;
  for (size_t i = 0; i < dims.size(); ++i) {
    if (kept[i]) order.push_back(i);
  }
  for (size_t i = 0; i < dims.size(); ++i) {
    if (!kept[i]) order.push_back(i);
  }
  std::vector<int64_t> strides(dims.size(), 1);
  for (int i = static_cast<int>(dims.size()) - 2; i >= 0; --i)
    strides[i] = strides[i + 1] * dims[i + 1];
  const int64_t size = Product(dims, 0, dims.size());
  std::vector<int64_t> index(dims.size(), 0);
  int64_t source = 0;
  for (int64_t flat = 0; flat < size; ++flat) {
    if (forward) {
      out[flat] = in[source];
    } else {
      out[source] = in[flat];
    }
    for (int d = static_cast<int>(order.size()) - 1; d >= 0; --d) {
      const size_t axis = order[static_cast<size_t>(d)];
      source += strides[axis];
      if (++index[static_cast<size_t>(d)] < dims[axis]) break;
      source -= strides[axis] * dims[axis];
      index[static_cast<size_t>(d)] = 0;
    }
  }
}

bool FitsHalf(const std::vector<float>& scales) {
  // Normal float16 values keep 11 bits; smaller ones would lose some.
  return std::all_of(scales.begin(), scales.end(),
                     [](float s) { return s >= 6.2e-5f && s <= 60000.0f; });
}

struct Rows {
  const float* values = nullptr;
  int64_t rows = 1;
  int64_t length = 1;
  int64_t set_length = 1;  // divides a row into sets, the last one shorter
};

}  // namespace

QuantizedLayout PlanLayout(const Weight& weight, Granularity wish, int64_t group_size) {
  const WeightUse& use = weight.uses[0];
  const Shape& dims = weight.dims;
  QuantizedLayout layout;
  layout.granularity = wish;
  if (wish == Granularity::kGroup) {
    layout.group_size = group_size;
    const int axis = use.source_reduction_axis;
    if (use.role == WeightRole::kConv && use.source_output_axis == 0) {
      layout.outer = dims[0];
      layout.length = Product(dims, 1, dims.size());
    } else if (axis >= 0) {
      layout.outer = Product(dims, 0, static_cast<size_t>(axis));
      layout.length = dims[static_cast<size_t>(axis)];
      layout.inner = Product(dims, static_cast<size_t>(axis) + 1, dims.size());
    } else {
      layout.granularity = Granularity::kChannel;
    }
    if (layout.granularity == Granularity::kGroup && layout.length <= group_size)
      layout.granularity = Granularity::kChannel;
  }
  if (layout.granularity == Granularity::kGroup) {
    layout.groups = (layout.length + group_size - 1) / group_size;
    layout.padded = layout.groups * group_size != layout.length;
    layout.reshaped = true;
    layout.stored_dims = {layout.outer, layout.groups, group_size, layout.inner};
    layout.scale_dims = {layout.outer, layout.groups, 1, layout.inner};
    return layout;
  }
  layout.kept_axes = ChannelAxes(weight);
  if (std::count(layout.kept_axes.begin(), layout.kept_axes.end(), true) == 0)
    layout.granularity = Granularity::kTensor;
  if (layout.granularity == Granularity::kTensor) layout.kept_axes.assign(dims.size(), false);
  layout.stored_dims = dims;
  for (size_t i = 0; i < dims.size(); ++i)
    layout.scale_dims.push_back(layout.kept_axes[i] ? dims[i] : 1);
  return layout;
}

QuantizedTensor QuantizeTensor(const std::vector<float>& w, const Shape& dims,
                               const QuantizedLayout& layout, const RoundingRule& rule,
                               bool nibbles, bool half_scales, Parallel& parallel) {
  QuantizedTensor out;
  const bool grouped = layout.granularity == Granularity::kGroup;
  // Bring every set's elements side by side.
  std::vector<float> moved;
  Rows rows;
  rows.values = w.data();
  bool in_order = true;
  if (grouped) {
    rows.rows = layout.outer * layout.inner;
    rows.length = layout.length;
    rows.set_length = layout.group_size;
    if (layout.inner > 1) {
      in_order = false;
      moved.resize(w.size());
      const int64_t plane = layout.length * layout.inner;
      parallel.Run(layout.outer, [&](int64_t o) {
        TransposeFloats(w.data() + o * plane, layout.length, layout.inner,
                        moved.data() + o * plane);
      });
      rows.values = moved.data();
    }
  } else {
    rows.rows = Product(layout.scale_dims, 0, layout.scale_dims.size());
    rows.length = rows.rows > 0 ? static_cast<int64_t>(w.size()) / rows.rows : 0;
    rows.set_length = std::max<int64_t>(1, rows.length);
    const auto last_kept = std::find(layout.kept_axes.rbegin(), layout.kept_axes.rend(), true);
    const auto leading = layout.kept_axes.rend() - last_kept;
    in_order = std::all_of(layout.kept_axes.begin(), layout.kept_axes.begin() + leading,
                           [](bool k) { return k; });
    if (!in_order) {
      moved.resize(w.size());
      if (dims.size() == 2) {
        TransposeFloats(w.data(), dims[0], dims[1], moved.data());
      } else {
        MoveAxes(w.data(), dims, layout.kept_axes, /*forward=*/true, moved.data());
      }
      rows.values = moved.data();
    }
  }
  const int64_t sets_a_row =
      rows.length == 0 ? 0 : (rows.length + rows.set_length - 1) / rows.set_length;
  const int64_t sets = rows.rows * sets_a_row;
  const int64_t stored_row = grouped ? layout.groups * layout.group_size : rows.length;
  std::vector<SetScale> scales(static_cast<size_t>(sets));
  std::vector<SquaredSums> sums(static_cast<size_t>(rows.rows));
  std::vector<int8_t> q(static_cast<size_t>(rows.rows * stored_row), 0);

  // Fixed pieces of about 64 Ki elements.
  const int64_t rows_a_piece =
      std::max<int64_t>(1, (int64_t{64} << 10) / std::max<int64_t>(1, rows.length));
  const int64_t pieces = (rows.rows + rows_a_piece - 1) / rows_a_piece;
  const auto for_sets = [&](const std::function<void(int64_t row, int64_t set, const float* in,
                                                     int64_t count, int8_t* to)>& fn) {
    parallel.Run(pieces, [&](int64_t piece) {
      for (int64_t r = piece * rows_a_piece; r < std::min(rows.rows, (piece + 1) * rows_a_piece);
           ++r) {
        for (int64_t s = 0; s < sets_a_row; ++s) {
          const int64_t at = s * rows.set_length;
          fn(r, r * sets_a_row + s, rows.values + r * rows.length + at,
             std::min(rows.set_length, rows.length - at), q.data() + r * stored_row + at);
        }
      }
    });
  };
  // Without a search and with float32 scales, rows are rounded as they are read.
  const bool in_one_go = rule.symmetric && !rule.clip_mse && !half_scales;
  if (in_one_go) {
    parallel.Run(pieces, [&](int64_t piece) {
      std::vector<float> found(static_cast<size_t>(sets_a_row));
      for (int64_t r = piece * rows_a_piece; r < std::min(rows.rows, (piece + 1) * rows_a_piece);
           ++r) {
        RoundSets(rows.values + r * rows.length, rows.length, rows.set_length, rule.bits,
                  /*nibbles=*/false, reinterpret_cast<uint8_t*>(q.data()) + r * stored_row,
                  found.data());
        for (int64_t s = 0; s < sets_a_row; ++s)
          scales[static_cast<size_t>(r * sets_a_row + s)].scale = found[static_cast<size_t>(s)];
      }
    });
  } else {
    for_sets([&](int64_t, int64_t set, const float* in, int64_t count, int8_t*) {
      scales[static_cast<size_t>(set)] = FindScale(in, count, rule);
    });
  }
  out.scales.resize(scales.size());
  for (size_t i = 0; i < scales.size(); ++i) out.scales[i] = scales[i].scale;
  if (half_scales && FitsHalf(out.scales)) {
    out.half_scales = true;
    for (size_t i = 0; i < scales.size(); ++i) {
      scales[i].scale = HalfToFloat(FloatToHalf(scales[i].scale));
      out.scales[i] = scales[i].scale;
    }
  }
  for_sets([&](int64_t row, int64_t set, const float* in, int64_t count, int8_t* to) {
    const SetScale& s = scales[static_cast<size_t>(set)];
    if (!in_one_go) RoundSet(in, count, rule, s, to);
    const SquaredSums e = SetError(in, to, count, rule, s);
    sums[static_cast<size_t>(row)].error += e.error;
    sums[static_cast<size_t>(row)].signal += e.signal;
  });
  for (const SquaredSums& s : sums) {
    out.squared_error += s.error;
    out.squared_norm += s.signal;
  }
  if (!rule.symmetric) {
    for (const SetScale& s : scales) out.zero_points.push_back(static_cast<char>(s.zero_point));
  }

  // Back to the order of storage.
  if (!in_order) {
    std::vector<int8_t> back(q.size());
    if (grouped) {
      // rows (outer, inner), each [groups * size] -> [outer, groups * size, inner]; scales
      // likewise.
      std::vector<float> moved_scales(out.scales.size());
      std::string moved_zeros(out.zero_points.size(), '\0');
      for (int64_t o = 0; o < layout.outer; ++o) {
        TransposeBytes(q.data() + o * layout.inner * stored_row, layout.inner, stored_row,
                       back.data() + o * layout.inner * stored_row);
        const int64_t base = o * layout.inner * sets_a_row;
        for (int64_t i = 0; i < layout.inner; ++i) {
          for (int64_t g = 0; g < sets_a_row; ++g) {
            const auto from = static_cast<size_t>(base + i * sets_a_row + g);
            const auto to = static_cast<size_t>(base + g * layout.inner + i);
            moved_scales[to] = out.scales[from];
            if (!moved_zeros.empty()) moved_zeros[to] = out.zero_points[from];
          }
        }
      }
      out.scales = std::move(moved_scales);
      out.zero_points = std::move(moved_zeros);
    } else if (dims.size() == 2) {
      TransposeBytes(q.data(), dims[1], dims[0], back.data());
    } else {
      MoveAxes(q.data(), dims, layout.kept_axes, /*forward=*/false, back.data());
    }
    q = std::move(back);
  }
  if (nibbles) {
    out.integers.resize((q.size() + 1) / 2);
    PackNibbles(q.data(), static_cast<int64_t>(q.size()),
                reinterpret_cast<uint8_t*>(out.integers.data()));
  } else {
    out.integers.assign(reinterpret_cast<const char*>(q.data()), q.size());
  }
  return out;
}

}  // namespace lathe::engine
