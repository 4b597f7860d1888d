// Softmax, LogSoftmax, Hardmax. Before opset 13 the axes from `axis` on are one row; since then the
// axis alone is.
#include <algorithm>
#include <cmath>
#include <vector>

#include "common/status_macros.h"
#include "worker/engine/kernels/backend.h"
#include "worker/engine/ops/forward/forward.h"

namespace lathe::engine {
namespace {

enum class Kind { kSoft, kLog, kHard };

// Rows of `n` elements `inner` apart; `outer` times `inner` of them.
struct Rows {
  int64_t outer = 1;
  int64_t n = 1;
  int64_t inner = 1;
};

template <typename T>
void RunRow(Kind kind, int64_t n, const T* x, T* y) {
  const T* largest = std::max_element(x, x + n);
  if (kind == Kind::kHard) {
    const int64_t at = largest - x;
    std::fill(y, y + n, T{0});
    y[at] = T{1};
    return;
  }
  const T top = *largest;
  T sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += std::exp(x[i] - top);
  for (int64_t i = 0; i < n; ++i) {
    y[i] = kind == Kind::kLog ? x[i] - top - std::log(sum) : std::exp(x[i] - top) / sum;
  }
}

template <typename T>
void RunRows(RunContext& ctx, Kind kind, const Rows& rows, const T* x, T* y) {
  const bool fast = std::is_same_v<T, float> && kind != Kind::kHard;
  if (rows.inner == 1) {
    if constexpr (std::is_same_v<T, float>) {
      if (fast) return ctx.backend().Softmax(rows.outer, rows.n, kind == Kind::kLog, x, y);
    }
    std::vector<T> copy(static_cast<size_t>(rows.n));
    for (int64_t r = 0; r < rows.outer; ++r, x += rows.n, y += rows.n) {
      std::copy_n(x, rows.n, copy.data());  // y may be x
      RunRow(kind, rows.n, copy.data(), y);
    }
    return;
  }
  std::vector<T> in(static_cast<size_t>(rows.n));
  std::vector<T> out(static_cast<size_t>(rows.n));
  for (int64_t o = 0; o < rows.outer; ++o) {
    for (int64_t i = 0; i < rows.inner; ++i) {
      const int64_t base = o * rows.n * rows.inner + i;
      for (int64_t k = 0; k < rows.n; ++k) in[static_cast<size_t>(k)] = x[base + k * rows.inner];
      if constexpr (std::is_same_v<T, float>) {
        if (fast) {
          ctx.backend().Softmax(1, rows.n, kind == Kind::kLog, in.data(), out.data());
        } else {
          RunRow(kind, rows.n, in.data(), out.data());
        }
      } else {
        RunRow(kind, rows.n, in.data(), out.data());
      }
      for (int64_t k = 0; k < rows.n; ++k) y[base + k * rows.inner] = out[static_cast<size_t>(k)];
    }
  }
}

template <Kind kKind>
absl::Status Run(RunContext& ctx) {
  const Value& x = ctx.In(0);
  if (!x.IsTensor() || (x.dtype != DType::kFloat && x.dtype != DType::kDouble)) {
    return ctx.Error("its input must be a tensor of floats");
  }
  const bool flattens = ctx.opset() < 13;
  const auto rank = static_cast<int64_t>(x.dims.size());
  const int64_t given = ctx.node().IntAttribute("axis", flattens ? 1 : -1);
  std::optional<int64_t> axis = NormalAxis(given, rank);
  // A scalar is a row of one; an axis past the last of a flattened input leaves rows of one.
  if (rank == 0 && (given == 0 || given == -1)) axis = 0;
  if (flattens && given == rank) axis = rank;
  if (!axis) return ctx.Error("'axis' lies outside of its input's axes");
  Rows rows;
  for (int64_t i = 0; i < rank; ++i) {
    const int64_t extent = x.dims[static_cast<size_t>(i)];
    if (i < *axis) {
      rows.outer *= extent;
    } else if (i == *axis || flattens) {
      rows.n *= extent;
    } else {
      rows.inner *= extent;
    }
  }
  ASSIGN_OR_RETURN(Value * y, ctx.OutInPlace(0, 0, x.dtype, x.dims));
  if (x.size() == 0) return absl::OkStatus();
  if (x.dtype == DType::kDouble) {
    RunRows(ctx, kKind, rows, x.As<double>().data(), y->Mutable<double>().data());
  } else {
    RunRows(ctx, kKind, rows, x.As<float>().data(), y->Mutable<float>().data());
  }
  return absl::OkStatus();
}

constexpr OpForward kForwards[] = {
    {"", "Hardmax", Run<Kind::kHard>, kComputesInFloat | kTakesDouble},
    {"", "LogSoftmax", Run<Kind::kLog>, kComputesInFloat | kTakesDouble},
    {"", "Softmax", Run<Kind::kSoft>, kComputesInFloat | kTakesDouble},
};

}  // namespace

std::span<const OpForward> SoftmaxForwards() { return kForwards; }

}  // namespace lathe::engine
