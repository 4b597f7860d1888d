// Axes that lie in a row on both sides become one axis, and a contiguous last axis becomes one wide
// element. What remains is a loop over outer axes around one of three inner loops: memcpy of runs,
// a tiled transposition of two axes, or element by element.
#include "worker/engine/kernels/strided_move.h"

#include <algorithm>
#include <cstring>

namespace lathe::engine {
namespace {

// Elements a side of a tile: two tiles of 8 bytes fit a first-level cache.
constexpr int64_t kTile = 32;

struct Axis {
  int64_t extent;
  int64_t from;  // bytes
  int64_t to;
};

std::vector<Axis> Coalesce(const StridedMove& move, int64_t width) {
  std::vector<Axis> axes;
  for (size_t i = 0; i < move.extents.size(); ++i) {
    const Axis next = {move.extents[i], move.from_strides[i] * width, move.to_strides[i] * width};
    if (next.extent == 1) continue;
    if (!axes.empty() && axes.back().from == next.from * next.extent &&
        axes.back().to == next.to * next.extent) {
      axes.back() = {axes.back().extent * next.extent, next.from, next.to};
    } else {
      axes.push_back(next);
    }
  }
  return axes;
}

struct Word16 {
  uint64_t halves[2];
};

template <typename T>
void CopyElement(const char* from, char* to) {
  std::memcpy(to, from, sizeof(T));
}

// to[j] = from[j] along one axis.
template <typename T>
void Line(const Axis& axis, const char* from, char* to) {
  for (int64_t j = 0; j < axis.extent; ++j) CopyElement<T>(from + j * axis.from, to + j * axis.to);
}

// Two axes of which `row` is contiguous at the source and `column` at the target.
template <typename T>
void Swap(const Axis& row, const Axis& column, const char* from, char* to) {
  for (int64_t r = 0; r < row.extent; r += kTile) {
    const int64_t rows = std::min(kTile, row.extent - r);
    for (int64_t c = 0; c < column.extent; c += kTile) {
      const int64_t columns = std::min(kTile, column.extent - c);
      for (int64_t i = 0; i < rows; ++i) {
        const char* source = from + (r + i) * row.from + c * column.from;
        char* target = to + (r + i) * row.to + c * column.to;
        for (int64_t j = 0; j < columns; ++j) {
          CopyElement<T>(source + j * column.from, target + j * static_cast<int64_t>(sizeof(T)));
        }
      }
    }
  }
}

// Calls body(from, to) for every position of `axes`.
template <typename Body>
void ForEach(const std::vector<Axis>& axes, const char* from, char* to, const Body& body) {
  std::vector<int64_t> at(axes.size(), 0);
  while (true) {
    body(from, to);
    size_t i = axes.size();
    while (i > 0) {
      --i;
      from += axes[i].from;
      to += axes[i].to;
      if (++at[i] < axes[i].extent) break;
      from -= axes[i].from * axes[i].extent;
      to -= axes[i].to * axes[i].extent;
      at[i] = 0;
      if (i == 0) return;
    }
    if (axes.empty()) return;
  }
}

template <typename T>
void MoveElements(std::vector<Axis> axes, const char* from, char* to) {
  const auto width = static_cast<int64_t>(sizeof(T));
  if (axes.empty()) return CopyElement<T>(from, to);
  const Axis last = axes.back();
  axes.pop_back();
  if (last.to == width && last.from != 0) {
    for (size_t i = axes.size(); i-- > 0;) {
      if (axes[i].from != width) continue;
      const Axis row = axes[i];
      axes.erase(axes.begin() + static_cast<int64_t>(i));
      ForEach(axes, from, to, [&](const char* f, char* t) { Swap<T>(row, last, f, t); });
      return;
    }
  }
  ForEach(axes, from, to, [&](const char* f, char* t) { Line<T>(last, f, t); });
}

}  // namespace

void MoveStrided(const StridedMove& move, int64_t width, const char* from, char* to) {
  for (const int64_t extent : move.extents) {
    if (extent == 0) return;
  }
  std::vector<Axis> axes = Coalesce(move, width);
  int64_t run = width;
  if (!axes.empty() && axes.back().from == width && axes.back().to == width) {
    run = axes.back().extent * width;
    axes.pop_back();
  }
  switch (run) {
    case 1:
      return MoveElements<uint8_t>(std::move(axes), from, to);
    case 2:
      return MoveElements<uint16_t>(std::move(axes), from, to);
    case 4:
      return MoveElements<uint32_t>(std::move(axes), from, to);
    case 8:
      return MoveElements<uint64_t>(std::move(axes), from, to);
    case 16:
      return MoveElements<Word16>(std::move(axes), from, to);
    default:
      ForEach(axes, from, to, [run](const char* f, char* t) {
        std::memcpy(t, f, static_cast<size_t>(run));
      });
  }
}

}  // namespace lathe::engine
