#include "worker/engine/methods/magnitude_selection.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cmath>
#include <cstring>
#include <string>
#include <type_traits>
#include <utility>

namespace lathe::engine {
namespace {

// Elements a piece of work covers. Fixed, so that sums over pieces do not depend on the threads.
constexpr int64_t kPieceElements = int64_t{256} << 10;
constexpr int kDigitBits = 11;
constexpr int kDigits = 1 << kDigitBits;

// How elements of one type are stored and read.
struct Float32 {
  using Storage = float;
  static double Value(Storage s) { return static_cast<double>(s); }
};
struct Float64 {
  using Storage = double;
  static double Value(Storage s) { return s; }
};
struct Float16 {
  using Storage = uint16_t;
  static double Value(Storage s) { return static_cast<double>(HalfToFloat(s)); }
};
struct Bfloat16 {
  using Storage = uint16_t;
  static double Value(Storage s) { return static_cast<double>(Bfloat16ToFloat(s)); }
};

// Calls fn with the type tag of `dtype`.
template <typename Fn>
void WithType(DType dtype, Fn&& fn) {
  switch (dtype) {
    case DType::kDouble:
      return fn(Float64());
    case DType::kFloat16:
      return fn(Float16());
    case DType::kBfloat16:
      return fn(Bfloat16());
    default:
      return fn(Float32());
  }
}

// Bits of a non-negative number of type float or double: they order as the numbers do.
template <typename Key, typename Type>
Key MagnitudeBits(typename Type::Storage stored) {
  Key key;
  if constexpr (std::is_same_v<Key, uint32_t>) {
    const float magnitude = std::fabs(static_cast<float>(Type::Value(stored)));
    std::memcpy(&key, &magnitude, sizeof(key));
  } else {
    const double magnitude = std::fabs(Type::Value(stored));
    std::memcpy(&key, &magnitude, sizeof(key));
  }
  return key;
}

struct Piece {
  size_t tensor = 0;
  int64_t begin = 0;
  int64_t end = 0;
};

std::vector<Piece> Cut(std::span<const Tensor* const> tensors) {
  std::vector<Piece> pieces;
  for (size_t t = 0; t < tensors.size(); ++t) {
    const int64_t size = tensors[t]->size();
    for (int64_t begin = 0; begin < size; begin += kPieceElements) {
      pieces.push_back({t, begin, std::min(size, begin + kPieceElements)});
    }
  }
  return pieces;
}

// The elements of a piece; bytes of mapped files need not be aligned.
template <typename Storage>
Storage Load(const char* data, int64_t index) {
  Storage stored;
  std::memcpy(&stored, data + index * static_cast<int64_t>(sizeof(Storage)), sizeof(Storage));
  return stored;
}

struct PieceSums {
  int64_t zeros = 0;
  double squared_norm = 0;
  double squared_change = 0;
};

// Copies a piece to `out`, zeroing elements whose magnitude has key < `below`, and the first `ties`
// of those that have key == `below`.
template <typename Key, typename Type>
PieceSums WritePiece(const char* in, char* out, const Piece& piece, Key below, int64_t ties) {
  using Storage = typename Type::Storage;
  PieceSums sums;
  for (int64_t i = piece.begin; i < piece.end; ++i) {
    Storage stored = Load<Storage>(in, i);
    const double value = Type::Value(stored);
    const double square = value * value;
    sums.squared_norm += square;
    const Key key = MagnitudeBits<Key, Type>(stored);
    bool drop = key < below;
    if (key == below && ties > 0) {
      --ties;
      drop = true;
    }
    if (drop) {
      stored = Storage{};
      sums.squared_change += square;
    }
    if (drop || key == 0) ++sums.zeros;
    std::memcpy(out + i * static_cast<int64_t>(sizeof(Storage)), &stored, sizeof(Storage));
  }
  return sums;
}

// One tensor after the other: the sink may put its new bytes away before the next one's are made.
template <typename Key>
void Write(std::span<const Tensor* const> tensors, const std::vector<Piece>& pieces, Key below,
           const std::vector<int64_t>& ties, Parallel& parallel, const ZeroedSink& sink) {
  size_t first = 0;  // piece of the tensor
  for (size_t t = 0; t < tensors.size(); ++t) {
    const Tensor& tensor = *tensors[t];
    size_t end = first;
    while (end < pieces.size() && pieces[end].tensor == t) ++end;
    std::string bytes(static_cast<size_t>(tensor.byte_size()), '\0');
    std::vector<PieceSums> sums(end - first);
    parallel.Run(static_cast<int64_t>(sums.size()), [&](int64_t p) {
      const Piece& piece = pieces[first + static_cast<size_t>(p)];
      WithType(tensor.dtype, [&](auto type) {
        using Type = decltype(type);
        sums[p] = WritePiece<Key, Type>(tensor.data.view().data(), bytes.data(), piece, below,
                                        ties[first + static_cast<size_t>(p)]);
        constexpr auto kWidth = static_cast<int64_t>(sizeof(typename Type::Storage));
        tensor.data.DropPages(piece.begin * kWidth, (piece.end - piece.begin) * kWidth);
      });
    });
    ZeroedTensor out;
    for (const PieceSums& s : sums) {
      out.zeros += s.zeros;
      out.squared_norm += s.squared_norm;
      out.squared_change += s.squared_change;
    }
    out.data = Bytes::Own(std::move(bytes));
    sink(t, std::move(out));
    first = end;
  }
}

template <typename Key>
void Select(std::span<const Tensor* const> tensors, int64_t count, Parallel& parallel,
            const ZeroedSink& sink) {
  constexpr int kKeyBits = 8 * sizeof(Key) - 1;  // the sign is off
  const std::vector<Piece> pieces = Cut(tensors);
  std::vector<std::array<int32_t, kDigits>> histograms(pieces.size());

  // After each pass: the magnitude sought starts with `prefix` above bit `shift`, and `wanted` of
  // the elements that start so are to go.
  Key prefix = 0;
  int64_t wanted = count;
  std::vector<int64_t> equal(pieces.size(), 0);  // elements of a piece that start with the prefix
  for (int shift = kKeyBits; shift > 0;) {
    const int above = shift;
    shift = std::max(0, shift - kDigitBits);
    const Key mask = (Key{1} << (above - shift)) - 1;
    parallel.Run(static_cast<int64_t>(pieces.size()), [&](int64_t p) {
      const Piece& piece = pieces[p];
      const Tensor& tensor = *tensors[piece.tensor];
      std::array<int32_t, kDigits>& histogram = histograms[p];
      histogram.fill(0);
      WithType(tensor.dtype, [&](auto type) {
        using Type = decltype(type);
        const char* data = tensor.data.view().data();
        for (int64_t i = piece.begin; i < piece.end; ++i) {
          const Key key = MagnitudeBits<Key, Type>(Load<typename Type::Storage>(data, i));
          if ((key >> above) == prefix) ++histogram[(key >> shift) & mask];
        }
        constexpr auto kWidth = static_cast<int64_t>(sizeof(typename Type::Storage));
        tensor.data.DropPages(piece.begin * kWidth, (piece.end - piece.begin) * kWidth);
      });
    });
    Key digit = 0;
    for (; digit < mask; ++digit) {
      int64_t here = 0;
      for (const auto& histogram : histograms) here += histogram[digit];
      if (wanted < here) break;
      wanted -= here;
    }
    prefix = static_cast<Key>((prefix << (above - shift)) | digit);
    for (size_t p = 0; p < pieces.size(); ++p) equal[p] = histograms[p][digit];
  }
  // Ties go to the earlier pieces first.
  for (int64_t& ties : equal) {
    ties = std::min(ties, wanted);
    wanted -= ties;
  }
  Write<Key>(tensors, pieces, prefix, equal, parallel, sink);
}

}  // namespace

void ZeroSmallest(std::span<const Tensor* const> tensors, int64_t count, Parallel& parallel,
                  const ZeroedSink& sink) {
  const bool wide = std::any_of(tensors.begin(), tensors.end(),
                                [](const Tensor* t) { return t->dtype == DType::kDouble; });
  wide ? Select<uint64_t>(tensors, count, parallel, sink)
       : Select<uint32_t>(tensors, count, parallel, sink);
}

ZeroedTensor ZeroBelow(const Tensor& tensor, double epsilon, Parallel& parallel) {
  double rounded = epsilon;
  if (tensor.dtype == DType::kFloat) rounded = static_cast<float>(epsilon);
  if (tensor.dtype == DType::kFloat16) {
    rounded = HalfToFloat(FloatToHalf(static_cast<float>(epsilon)));
  }
  if (tensor.dtype == DType::kBfloat16) {
    rounded = Bfloat16ToFloat(FloatToBfloat16(static_cast<float>(epsilon)));
  }
  const Tensor* tensors[] = {&tensor};
  const std::vector<Piece> pieces = Cut(tensors);
  const uint64_t below = MagnitudeBits<uint64_t, Float64>(rounded);
  ZeroedTensor out;
  Write<uint64_t>(tensors, pieces, below, std::vector<int64_t>(pieces.size(), 0), parallel,
                  [&out](size_t, ZeroedTensor zeroed) { out = std::move(zeroed); });
  return out;
}

bool AllFinite(const Tensor& tensor, Parallel& parallel) {
  const Tensor* tensors[] = {&tensor};
  const std::vector<Piece> pieces = Cut(tensors);
  std::atomic<bool> finite{true};
  parallel.Run(static_cast<int64_t>(pieces.size()), [&](int64_t p) {
    WithType(tensor.dtype, [&](auto type) {
      using Type = decltype(type);
      const char* data = tensor.data.view().data();
      bool good = true;
      for (int64_t i = pieces[p].begin; i < pieces[p].end; ++i) {
        if constexpr (std::is_same_v<Type, Float32>) {  // a loop that compilers vectorize
          good &= (Load<uint32_t>(data, i) & 0x7F800000) != 0x7F800000;
        } else {
          good &= std::isfinite(Type::Value(Load<typename Type::Storage>(data, i)));
        }
      }
      if (!good) finite.store(false, std::memory_order_relaxed);
    });
  });
  return finite.load();
}

}  // namespace lathe::engine
