// A weight's elements seen as rows of what is rounded together, whatever their order of storage.
#ifndef LATHE_WORKER_ENGINE_METHODS_WEIGHT_ROWS_H_
#define LATHE_WORKER_ENGINE_METHODS_WEIGHT_ROWS_H_

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

#include "worker/engine/tensor/tensor.h"

namespace lathe::engine {

// Where the elements of [rows, length] lie in a dense tensor: `kept` axes count the rows, the
// others the elements of a row, both in row-major order among themselves. Copies a few rows at a
// time, so that nobody needs a second copy of the whole.
class RowOrder {
 public:
  RowOrder(const Shape& dims, const std::vector<bool>& kept);

  int64_t rows() const { return rows_; }
  int64_t length() const { return length_; }
  // Row after row, as stored.
  bool in_order() const { return in_order_; }
  // Rows that lie side by side: reading so many of them, or a multiple, wastes nothing.
  int64_t neighbours() const { return run_of_rows_; }

  // Rows [begin, end) of `stored`, elements of type T at any alignment, to `out`.
  template <typename T>
  void Gather(const char* stored, int64_t begin, int64_t end, T* out) const {
    Visit<T>(
        begin, end,
        [stored](int64_t at, int64_t count, T* piece) {
          std::memcpy(piece, stored + at * static_cast<int64_t>(sizeof(T)),
                      static_cast<size_t>(count) * sizeof(T));
        },
        out, /*gather=*/true);
  }
  // The way back.
  template <typename T>
  void Scatter(const T* rows, int64_t begin, int64_t end, T* stored) const {
    // Visit only reads `rows` here.
    Visit<T>(
        begin, end,
        [stored](int64_t at, int64_t count, T* piece) {
          std::memcpy(stored + at, piece, static_cast<size_t>(count) * sizeof(T));
        },
        const_cast<T*>(rows), /*gather=*/false);
  }

 private:
  struct Axis {
    int64_t extent = 1;
    int64_t stride = 1;
  };

  int64_t RowBase(int64_t row) const;

  // Calls move(position in storage, elements, their place) for runs of storage.
  template <typename T, typename Move>
  void Visit(int64_t begin, int64_t end, const Move& move, T* rows, bool gather) const;

  int64_t rows_ = 1;
  int64_t length_ = 1;
  bool in_order_ = true;
  std::vector<Axis> row_axes_;    // outermost first
  int64_t run_of_rows_ = 1;       // rows whose elements alternate in storage
  int64_t run_of_elements_ = 1;   // elements of a row that lie side by side
  std::vector<int64_t> offsets_;  // of each such run within the row
};

template <typename T, typename Move>
void RowOrder::Visit(int64_t begin, int64_t end, const Move& move, T* rows, bool gather) const {
  if (run_of_rows_ == 1) {
    for (int64_t r = begin; r < end; ++r) {
      const int64_t base = RowBase(r);
      for (const int64_t offset : offsets_) {
        move(base + offset, run_of_elements_, rows);
        rows += run_of_elements_;
      }
    }
    return;
  }
  // Through a tile that stays in the nearest cache: a column of the other side is a cache line
  // each, and powers of two between them would throw each other out.
  constexpr int64_t kTile = 64 / static_cast<int64_t>(sizeof(T));
  T tile[kTile][kTile] = {};
  for (int64_t r = begin; r < end;) {
    const int64_t here = std::min(run_of_rows_ - r % run_of_rows_, end - r);
    const int64_t base = RowBase(r);
    for (int64_t i0 = 0; i0 < here; i0 += kTile) {
      const int64_t height = std::min(kTile, here - i0);
      T* const block = rows + (r - begin + i0) * length_;
      for (int64_t j0 = 0; j0 < length_; j0 += kTile) {
        const int64_t width = std::min(kTile, length_ - j0);
        const auto exchange = [&](auto&& each) {
          for (int64_t i = 0; i < height; ++i) {
            for (int64_t j = 0; j < width; ++j) each(block[i * length_ + j0 + j], tile[j][i]);
          }
        };
        if (!gather) exchange([](T& row, T& cell) { cell = row; });
        for (int64_t j = 0; j < width; ++j) {
          move(base + i0 + offsets_[static_cast<size_t>(j0 + j)], height, tile[j]);
        }
        if (gather) exchange([](T& row, T& cell) { row = cell; });
      }
    }
    r += here;
  }
}

// Room for what a reader has to convert or collect; one a thread.
struct ReadRoom {
  std::vector<float> floats;
  std::vector<char> raw;
};

// Elements [begin, begin + count) of a tensor of a float type as float32: in place where they are,
// otherwise in `room`.
const float* ReadElements(const Tensor& tensor, int64_t begin, int64_t count, ReadRoom& room);

// Rows [begin, end) likewise, side by side.
const float* ReadRows(const Tensor& tensor, const RowOrder& order, int64_t begin, int64_t end,
                      ReadRoom& room);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_METHODS_WEIGHT_ROWS_H_
