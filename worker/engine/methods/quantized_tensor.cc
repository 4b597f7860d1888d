#include "worker/engine/methods/quantized_tensor.h"

#include <algorithm>
#include <atomic>
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

// Normal float16 values keep 11 bits; smaller ones would lose some.
bool FitsHalf(float scale) { return scale >= 6.2e-5f && scale <= 60000.0f; }

// Whose elements share a scale, or the group's `length` in sets.
struct Sets {
  Shape dims;              // of the source, as the rows see it
  std::vector<bool> kept;  // axes of `dims`
  Shape stored_dims;       // as `dims`, of the integers
  int64_t set_length = 1;  // divides a row into sets, the last one shorter
  int64_t stored_row = 1;  // integers of a row, padding included
};

Sets SetsOf(const Shape& dims, const QuantizedLayout& layout) {
  Sets sets;
  if (layout.granularity == Granularity::kGroup) {
    sets.stored_row = layout.groups * layout.group_size;
    sets.dims = {layout.outer, layout.length, layout.inner};
    sets.stored_dims = {layout.outer, sets.stored_row, layout.inner};
    sets.kept = {true, false, true};
    sets.set_length = layout.group_size;
    return sets;
  }
  sets.dims = sets.stored_dims = dims;
  sets.kept = layout.kept_axes;
  for (size_t i = 0; i < dims.size(); ++i) {
    if (!sets.kept[i]) sets.stored_row *= dims[i];
  }
  sets.set_length = std::max<int64_t>(1, sets.stored_row);
  return sets;
}

// Fills in all but the errors: q [as stored], scales row after row.
void Store(const QuantizedLayout& layout, std::string q, const std::vector<SetScale>& scales,
           int64_t sets_a_row, bool symmetric, bool nibbles, QuantizedTensor* to) {
  QuantizedTensor& out = *to;
  out.scales.resize(scales.size());
  for (size_t i = 0; i < scales.size(); ++i) out.scales[i] = scales[i].scale;
  if (!symmetric) {
    for (const SetScale& s : scales) out.zero_points.push_back(static_cast<char>(s.zero_point));
  }
  if (layout.granularity == Granularity::kGroup && layout.inner > 1) {
    // Rows (outer, inner), each with its groups -> [outer, groups, inner].
    std::vector<float> moved_scales(out.scales.size());
    std::string moved_zeros(out.zero_points.size(), '\0');
    for (int64_t o = 0; o < layout.outer; ++o) {
      const int64_t base = o * layout.inner * sets_a_row;
      for (int64_t i = 0; i < layout.inner; ++i) {
        for (int64_t g = 0; g < sets_a_row; ++g) {
          const auto from = static_cast<size_t>(base + i * sets_a_row + g);
          const auto place = static_cast<size_t>(base + g * layout.inner + i);
          moved_scales[place] = out.scales[from];
          if (!moved_zeros.empty()) moved_zeros[place] = out.zero_points[from];
        }
      }
    }
    out.scales = std::move(moved_scales);
    out.zero_points = std::move(moved_zeros);
  }
  if (nibbles) {
    out.integers.resize((q.size() + 1) / 2);
    PackNibbles(reinterpret_cast<const int8_t*>(q.data()), static_cast<int64_t>(q.size()),
                reinterpret_cast<uint8_t*>(out.integers.data()));
  } else {
    out.integers = std::move(q);
  }
}

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

RowOrder RowsOf(const Shape& dims, const QuantizedLayout& layout) {
  const Sets sets = SetsOf(dims, layout);
  return RowOrder(sets.dims, sets.kept);
}

int64_t RowsAPiece(const RowOrder& order) {
  // Fixed pieces of about 64 Ki elements; whole cache lines where rows lie side by side.
  constexpr int64_t kPieceElements = int64_t{64} << 10;
  constexpr int64_t kRowsALine = 16;
  const int64_t rows = std::max<int64_t>(1, kPieceElements / std::max<int64_t>(1, order.length()));
  if (order.neighbours() < kRowsALine) return rows;
  return (rows + kRowsALine - 1) / kRowsALine * kRowsALine;
}

QuantizedTensor QuantizeTensor(const Tensor& source, const QuantizedLayout& layout,
                               const RoundingRule& rule, const std::vector<float>& divisors,
                               bool nibbles, bool half_scales, Parallel& parallel) {
  const Sets sets = SetsOf(source.dims, layout);
  const RowOrder order(sets.dims, sets.kept);
  const RowOrder stored_order(sets.stored_dims, sets.kept);
  const int64_t rows = order.rows();
  const int64_t length = order.length();
  const int64_t sets_a_row = length == 0 ? 0 : (length + sets.set_length - 1) / sets.set_length;
  const int64_t rows_a_piece = RowsAPiece(order);
  const int64_t pieces = (rows + rows_a_piece - 1) / rows_a_piece;
  std::vector<SetScale> scales(static_cast<size_t>(rows * sets_a_row));
  std::vector<SquaredSums> sums(static_cast<size_t>(rows));
  std::string q(static_cast<size_t>(rows * sets.stored_row), '\0');
  // Without a search and with float32 scales, rows are rounded as they are read.
  const bool in_one_go = rule.symmetric && !rule.clip_mse && !half_scales;

  // All of a piece's work while it is in the cache. Returns whether every scale fits float16.
  const auto round_piece = [&](int64_t piece, bool to_half) {
    const int64_t begin = piece * rows_a_piece;
    const int64_t end = std::min(rows, begin + rows_a_piece);
    ReadRoom room;
    std::vector<float> divided;
    std::vector<float> found(static_cast<size_t>(sets_a_row));
    std::vector<int8_t> integers(static_cast<size_t>((end - begin) * sets.stored_row), 0);
    const float* const values = ReadRows(source, order, begin, end, room);
    bool fits = true;
    for (int64_t r = begin; r < end; ++r) {
      const float* const w = values + (r - begin) * length;
      int8_t* const to = integers.data() + (r - begin) * sets.stored_row;
      const float* in = w;
      if (!divisors.empty()) {
        divided.resize(static_cast<size_t>(length));
        DivideEach(w, divisors.data(), length, divided.data());
        in = divided.data();
      }
      if (in_one_go) {
        RoundSets(in, length, sets.set_length, rule.bits, /*nibbles=*/false,
                  reinterpret_cast<uint8_t*>(to), found.data());
      }
      SquaredSums& sum = sums[static_cast<size_t>(r)];
      sum = {};
      for (int64_t s = 0; s < sets_a_row; ++s) {
        const int64_t at = s * sets.set_length;
        const int64_t count = std::min(sets.set_length, length - at);
        SetScale& scale = scales[static_cast<size_t>(r * sets_a_row + s)];
        if (in_one_go) {
          scale.scale = found[static_cast<size_t>(s)];
        } else {
          scale = FindScale(in + at, count, rule);
          if (to_half) {
            fits = fits && FitsHalf(scale.scale);
            scale.scale = HalfToFloat(FloatToHalf(scale.scale));
          }
          if (!fits) return false;
          RoundSet(in + at, count, rule, scale, to + at);
        }
        const SquaredSums e = SetError(w + at, to + at, count, rule, scale,
                                       divisors.empty() ? nullptr : divisors.data() + at);
        sum.error += e.error;
        sum.signal += e.signal;
      }
    }
    stored_order.Scatter(integers.data(), begin, end, reinterpret_cast<int8_t*>(q.data()));
    return fits;
  };
  QuantizedTensor out;
  std::atomic<bool> all_fit{true};
  const auto round_all = [&](bool to_half) {
    parallel.Run(pieces, [&](int64_t piece) {
      if (to_half && !all_fit.load(std::memory_order_relaxed)) return;
      if (!round_piece(piece, to_half)) all_fit.store(false, std::memory_order_relaxed);
    });
  };
  round_all(half_scales);
  out.half_scales = half_scales && all_fit.load();
  if (half_scales && !out.half_scales) round_all(false);  // one does not: none is

  for (const SquaredSums& s : sums) {
    out.squared_error += s.error;
    out.squared_norm += s.signal;
  }
  Store(layout, std::move(q), scales, sets_a_row, rule.symmetric, nibbles, &out);
  return out;
}

QuantizedTensor StoreRows(const Shape& dims, const QuantizedLayout& layout,
                          const std::vector<int8_t>& q, const std::vector<SetScale>& scales,
                          bool symmetric, bool nibbles, bool half_scales) {
  const Sets sets = SetsOf(dims, layout);
  const RowOrder stored_order(sets.stored_dims, sets.kept);
  const int64_t rows = stored_order.rows();
  const int64_t length = rows == 0 ? 0 : static_cast<int64_t>(q.size()) / rows;
  std::string stored(static_cast<size_t>(rows * sets.stored_row), '\0');
  const int64_t together = RowsAPiece(stored_order);
  std::vector<int8_t> padded(static_cast<size_t>(together * sets.stored_row), 0);
  for (int64_t begin = 0; begin < rows; begin += together) {
    const int64_t end = std::min(rows, begin + together);
    for (int64_t r = begin; r < end; ++r) {
      std::copy_n(q.begin() + r * length, length, padded.begin() + (r - begin) * sets.stored_row);
    }
    stored_order.Scatter(padded.data(), begin, end, reinterpret_cast<int8_t*>(stored.data()));
  }
  QuantizedTensor out;
  out.half_scales = half_scales;
  Store(layout, std::move(stored), scales,
        rows == 0 ? 0 : static_cast<int64_t>(scales.size()) / rows, symmetric, nibbles, &out);
  return out;
}

int64_t StoredBytes(const Shape& dims, const QuantizedLayout& layout, bool symmetric, bool nibbles,
                    bool half_scales) {
  const Sets sets = SetsOf(dims, layout);
  const RowOrder order(sets.dims, sets.kept);
  const int64_t stored = order.rows() * sets.stored_row;
  const int64_t scales = std::accumulate(layout.scale_dims.begin(), layout.scale_dims.end(),
                                         int64_t{1}, std::multiplies<int64_t>());
  return (nibbles ? (stored + 1) / 2 : stored) + scales * (half_scales ? 2 : 4) +
         (symmetric ? 0 : scales);
}

}  // namespace lathe::engine
