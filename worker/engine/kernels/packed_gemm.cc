// Goto's algorithm (Goto & van de Geijn 2008). Few rows of the left operand are read by broadcast
// as they lie; of many, each block is copied tile by tile first, [k, rows of the tile]. A tile of 6
// rows by two vectors of columns stays in registers over a block of k.
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "worker/engine/kernels/packed_gemm.cc"
#include <hwy/foreach_target.h>
// Highway's own headers follow the target's.
#include <hwy/highway.h>

#include <algorithm>

#include "worker/engine/kernels/packed_gemm.h"
#include "worker/engine/kernels/transpose.h"

HWY_BEFORE_NAMESPACE();
namespace lathe::engine {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::CappedTag<float, 16>;
using V = hn::Vec<D>;
constexpr int64_t kWidth = static_cast<int64_t>(hn::MaxLanes(D()));
constexpr int64_t kPanel = 2 * kWidth;
constexpr int64_t kRows = 6;
// A panel's block stays in the first cache, the rows' block in the second.
constexpr int64_t kBlockK = 256;
constexpr int64_t kBlockM = 20 * kRows;

int64_t PanelWidth() { return kPanel; }
int64_t Room() { return kBlockM * kBlockK; }

void Pack(bool transposed, int64_t k, int64_t n, const float* b, int64_t ldb, float* packed) {
  const D d;
  for (int64_t column = 0; column < n; column += kPanel, packed += k * kPanel) {
    const int64_t live = std::min(kPanel, n - column);
    if (!transposed && live == kPanel) {
      for (int64_t i = 0; i < k; ++i) {
        const float* row = b + i * ldb + column;
        hn::StoreU(hn::LoadU(d, row), d, packed + i * kPanel);
        hn::StoreU(hn::LoadU(d, row + kWidth), d, packed + i * kPanel + kWidth);
      }
      continue;
    }
    if (live < kPanel) std::fill(packed, packed + k * kPanel, 0.0f);
    if (!transposed) {
      for (int64_t i = 0; i < k; ++i) {
        std::copy_n(b + i * ldb + column, live, packed + i * kPanel);
      }
      continue;
    }
    TransposeFloats(live, k, b + column * ldb, ldb, packed, kPanel);
  }
}

// One tile's work: MR rows, NP panels of columns, a block of k.
struct Tile {
  int64_t k;
  const float* a;
  int64_t lda;
  bool packed_a;    // by PackRows
  const float* b;   // first panel's block
  int64_t b_row;    // floats between rows of the block
  int64_t b_panel;  // floats between panels
  float alpha;
  const float* bias;  // of the tile's columns, or nullptr
  bool load;          // starts from what c holds
  float* c;
  int64_t ldc;
};

template <int MR, int NP, bool kPacked>
HWY_INLINE void RunTile(const Tile& t) {
  const D d;
  V sum[MR][2 * NP];
  for (int i = 0; i < MR; ++i) {
    for (int j = 0; j < 2 * NP; ++j) sum[i][j] = hn::Zero(d);
  }
  const float* HWY_RESTRICT b = t.b;
  const float* HWY_RESTRICT a = t.a;
  for (int64_t k = 0; k < t.k; ++k, b += t.b_row) {
    V right[2 * NP];
    for (int p = 0; p < NP; ++p) {
      right[2 * p] = hn::LoadU(d, b + p * t.b_panel);
      right[2 * p + 1] = hn::LoadU(d, b + p * t.b_panel + kWidth);
    }
    for (int i = 0; i < MR; ++i) {
      const V left = hn::Set(d, kPacked ? a[k * MR + i] : a[i * t.lda + k]);
      for (int j = 0; j < 2 * NP; ++j) sum[i][j] = hn::MulAdd(left, right[j], sum[i][j]);
    }
  }
  if (t.alpha != 1.0f) {
    const V alpha = hn::Set(d, t.alpha);
    for (int i = 0; i < MR; ++i) {
      for (int j = 0; j < 2 * NP; ++j) sum[i][j] = hn::Mul(sum[i][j], alpha);
    }
  }
  for (int j = 0; j < 2 * NP; ++j) {
    const V bias = t.bias == nullptr ? hn::Zero(d) : hn::LoadU(d, t.bias + j * kWidth);
    for (int i = 0; i < MR; ++i) {
      float* c = t.c + i * t.ldc + j * kWidth;
      hn::StoreU(hn::Add(sum[i][j], t.load ? hn::LoadU(d, c) : bias), d, c);
    }
  }
}

template <bool kPacked>
void RunRowsOf(int64_t rows, Tile t) {
  for (; rows >= kRows; rows -= kRows) {
    RunTile<kRows, 1, kPacked>(t);
    t.a += kRows * (kPacked ? t.k : t.lda);
    t.c += kRows * t.ldc;
  }
  switch (rows) {
    case 1:
      return RunTile<1, 1, kPacked>(t);
    case 2:
      return RunTile<2, 1, kPacked>(t);
    case 3:
      return RunTile<3, 1, kPacked>(t);
    case 4:
      return RunTile<4, 1, kPacked>(t);
    case 5:
      return RunTile<5, 1, kPacked>(t);
    default:
      return;
  }
}

void RunRows(int64_t rows, const Tile& t) {
  t.packed_a ? RunRowsOf<true>(rows, t) : RunRowsOf<false>(rows, t);
}

// Rows [row, row + rows) and columns [k, k + count) of a, as RunRowsOf<true> reads them.
void PackRows(const PackedGemmArgs& g, int64_t row, int64_t rows, int64_t k, int64_t count) {
  float* to = g.room;
  for (int64_t i = 0; i < rows; i += kRows) {
    const int64_t some = std::min(kRows, rows - i);
    if (!g.trans_a) {
      TransposeFloats(some, count, g.a + (row + i) * g.lda + k, g.lda, to, some);
    } else if (some == kRows) {
      const float* from = g.a + k * g.lda + row + i;
      for (int64_t j = 0; j < count; ++j) std::copy_n(from + j * g.lda, kRows, to + j * kRows);
    } else {
      const float* from = g.a + k * g.lda + row + i;
      for (int64_t j = 0; j < count; ++j) std::copy_n(from + j * g.lda, some, to + j * some);
    }
    to += some * count;
  }
}

// All rows of a block against one panel of which `live` columns are wanted.
void RunEdge(int64_t rows, int64_t live, Tile t) {
  HWY_ALIGN float edge[kRows * kPanel];
  HWY_ALIGN float bias[kPanel] = {};
  if (t.bias != nullptr) {
    std::copy_n(t.bias, live, bias);
    t.bias = bias;
  }
  float* c = t.c;
  const int64_t ldc = t.ldc;
  t.c = edge;
  t.ldc = kPanel;
  for (int64_t row = 0; row < rows; row += kRows) {
    const int64_t some = std::min(kRows, rows - row);
    for (int64_t i = 0; t.load && i < some; ++i) {
      std::copy_n(c + (row + i) * ldc, live, edge + i * kPanel);
    }
    RunRows(some, t);
    for (int64_t i = 0; i < some; ++i) {
      std::copy_n(edge + i * kPanel, live, c + (row + i) * ldc);
    }
    t.a += some * (t.packed_a ? t.k : t.lda);
  }
}

void Product(const PackedGemmArgs& g) {
  HWY_ALIGN float last[kBlockK * kPanel];  // the ragged panel of a b that is not packed
  const int64_t whole = g.n / kPanel;
  const int64_t ragged = g.n % kPanel;
  for (int64_t row = 0; row < g.m; row += kBlockM) {
    const int64_t rows = std::min(kBlockM, g.m - row);
    // At least once, so that an empty sum stores its bias.
    for (int64_t k = 0; k == 0 || k < g.k; k += kBlockK) {
      Tile t;
      t.k = std::min(kBlockK, g.k - k);
      t.packed_a = g.room != nullptr;
      t.a = t.packed_a ? g.room : g.a + row * g.lda + k;
      t.lda = g.lda;
      if (t.packed_a) PackRows(g, row, rows, k, t.k);
      t.b = g.packed != nullptr ? g.packed + k * kPanel : g.b + k * g.ldb;
      t.b_row = g.packed != nullptr ? kPanel : g.ldb;
      t.b_panel = g.packed != nullptr ? g.k * kPanel : kPanel;
      t.alpha = g.alpha;
      t.load = g.accumulate || k > 0;
      t.bias = t.load ? nullptr : g.bias;
      t.c = g.c + row * g.ldc;
      t.ldc = g.ldc;
      const auto next = [&t](int64_t panels) {
        t.b += panels * t.b_panel;
        t.c += panels * kPanel;
        if (t.bias != nullptr) t.bias += panels * kPanel;
      };
      int64_t p = 0;
      // Few rows leave registers free: more panels at once hide the latency of the sums.
      if (rows == 1 && !t.packed_a) {
        for (; p + 4 <= whole; p += 4, next(4)) RunTile<1, 4, false>(t);
      } else if (rows == 2 && !t.packed_a) {
        for (; p + 2 <= whole; p += 2, next(2)) RunTile<2, 2, false>(t);
      }
      for (; p < whole; ++p, next(1)) RunRows(rows, t);
      if (ragged == 0) continue;
      if (g.packed == nullptr) {
        for (int64_t i = 0; i < t.k; ++i) {
          std::fill_n(last + i * kPanel, kPanel, 0.0f);
          std::copy_n(t.b + i * g.ldb, ragged, last + i * kPanel);
        }
        t.b = last;
        t.b_row = kPanel;
      }
      RunEdge(rows, ragged, t);
    }
    if (g.post_op.kind == PostOp::Kind::kNone) continue;
    for (int64_t i = row; i < row + rows; ++i) ApplyPostOp(g.post_op, g.n, g.c + i * g.ldc);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace lathe::engine
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace lathe::engine {
namespace {

HWY_EXPORT(PanelWidth);
HWY_EXPORT(Room);
HWY_EXPORT(Pack);
HWY_EXPORT(Product);

}  // namespace

int64_t GemmPanelWidth() { return HWY_DYNAMIC_DISPATCH(PanelWidth)(); }

int64_t PackedGemmRoom() { return HWY_DYNAMIC_DISPATCH(Room)(); }

int64_t PackedGemmFloats(int64_t k, int64_t n) {
  const int64_t width = GemmPanelWidth();
  return (n + width - 1) / width * width * k;
}

void PackGemm(bool transposed, int64_t k, int64_t n, const float* b, int64_t ldb, float* packed) {
  HWY_DYNAMIC_DISPATCH(Pack)(transposed, k, n, b, ldb, packed);
}

void PackedGemm(const PackedGemmArgs& args) {
  if (args.m > 0 && args.n > 0) HWY_DYNAMIC_DISPATCH(Product)(args);
}

}  // namespace lathe::engine
#endif  // HWY_ONCE
