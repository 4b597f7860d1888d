#include "worker/engine/methods/weight_rows.h"

namespace lathe::engine {
namespace {

template <typename T, typename Convert>
const float* Converted(const char* raw, int64_t count, ReadRoom& room, const Convert& convert) {
  room.floats.resize(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    T element;
    std::memcpy(&element, raw + i * static_cast<int64_t>(sizeof(T)), sizeof(T));
    room.floats[static_cast<size_t>(i)] = convert(element);
  }
  return room.floats.data();
}

const float* ToFloats(DType dtype, const char* raw, int64_t count, ReadRoom& room) {
  switch (dtype) {
    case DType::kDouble:
      return Converted<double>(raw, count, room, [](double v) { return static_cast<float>(v); });
    case DType::kFloat16:
      return Converted<uint16_t>(raw, count, room, HalfToFloat);
    case DType::kBfloat16:
      return Converted<uint16_t>(raw, count, room, Bfloat16ToFloat);
    default:
      room.floats.resize(static_cast<size_t>(count));
      std::memcpy(room.floats.data(), raw, static_cast<size_t>(count) * sizeof(float));
      return room.floats.data();
  }
}

// In `room.raw`.
template <typename T>
const char* Collected(const char* stored, const RowOrder& order, int64_t begin, int64_t end,
                      ReadRoom& room) {
  room.raw.resize(static_cast<size_t>((end - begin) * order.length()) * sizeof(T));
  // Memory of operator new is aligned for any of these types.
  order.Gather(stored, begin, end, reinterpret_cast<T*>(room.raw.data()));
  return room.raw.data();
}

}  // namespace

RowOrder::RowOrder(const Shape& dims, const std::vector<bool>& kept) {
  // Axes of one element do not matter, and neighbours of one kind are one axis.
  std::vector<std::pair<bool, int64_t>> merged;
  for (size_t i = 0; i < dims.size(); ++i) {
    (kept[i] ? rows_ : length_) *= dims[i];
    if (dims[i] == 1) continue;
    if (!merged.empty() && merged.back().first == kept[i]) {
      merged.back().second *= dims[i];
    } else {
      merged.emplace_back(kept[i], dims[i]);
    }
  }
  in_order_ = merged.size() <= 1 || (merged.size() == 2 && merged[0].first);
  offsets_ = {0};
  int64_t stride = 1;
  for (size_t i = merged.size(); i-- > 0;) {
    const auto [is_row, extent] = merged[i];
    const bool last = i + 1 == merged.size();
    if (is_row) {
      row_axes_.insert(row_axes_.begin(), {extent, stride});
      if (last) run_of_rows_ = extent;
    } else if (last) {
      run_of_elements_ = extent;
    } else {
      std::vector<int64_t> wider;
      wider.reserve(offsets_.size() * static_cast<size_t>(extent));
      for (int64_t at = 0; at < extent; ++at) {
        for (const int64_t offset : offsets_) wider.push_back(at * stride + offset);
      }
      offsets_ = std::move(wider);
    }
    stride *= extent;
  }
}

int64_t RowOrder::RowBase(int64_t row) const {
  int64_t base = 0;
  for (size_t i = row_axes_.size(); i-- > 0;) {
    base += row % row_axes_[i].extent * row_axes_[i].stride;
    row /= row_axes_[i].extent;
  }
  return base;
}

const float* ReadElements(const Tensor& tensor, int64_t begin, int64_t count, ReadRoom& room) {
  if (const std::span<const float> view = tensor.FloatView(); !view.empty()) {
    return view.data() + begin;
  }
  const int64_t width = DTypeBits(tensor.dtype).value_or(32) / 8;
  return ToFloats(tensor.dtype, tensor.data.view().data() + begin * width, count, room);
}

const float* ReadRows(const Tensor& tensor, const RowOrder& order, int64_t begin, int64_t end,
                      ReadRoom& room) {
  const int64_t count = (end - begin) * order.length();
  if (order.in_order()) return ReadElements(tensor, begin * order.length(), count, room);
  const char* stored = tensor.data.view().data();
  switch (tensor.dtype) {
    case DType::kDouble:
      return ToFloats(tensor.dtype, Collected<double>(stored, order, begin, end, room), count,
                      room);
    case DType::kFloat16:
    case DType::kBfloat16:
      return ToFloats(tensor.dtype, Collected<uint16_t>(stored, order, begin, end, room), count,
                      room);
    default:
      room.floats.resize(static_cast<size_t>(count));
      order.Gather(stored, begin, end, room.floats.data());
      return room.floats.data();
  }
}

}  // namespace lathe::engine
