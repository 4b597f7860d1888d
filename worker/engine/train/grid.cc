#include "worker/engine/train/grid.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace lathe::engine {
namespace {

// The smallest positive normal numbers of float16 and float32.
constexpr float kLeastHalf = 6.103515625e-05f;
constexpr float kLeastFloat = 1.17549435e-38f;

}  // namespace

std::vector<int64_t> RoundToGrid(const Grid& grid, std::span<const float> w) {
  std::vector<int64_t> q(w.size());
  for (size_t i = 0; i < w.size(); ++i) {
    const int32_t set = grid.set_of[i];
    const auto lo = static_cast<float>(grid.lo - grid.ZeroOf(set));
    const auto hi = static_cast<float>(grid.hi - grid.ZeroOf(set));
    const float level = std::clamp(std::nearbyint(w[i] / grid.scales[set]), lo, hi);
    q[i] = static_cast<int64_t>(level) + grid.ZeroOf(set);
  }
  return q;
}

void Project(const Grid& grid, std::span<const float> w, std::span<float> out) {
  for (size_t i = 0; i < w.size(); ++i) {
    const int32_t set = grid.set_of[i];
    const float s = grid.scales[set];
    const auto lo = static_cast<float>(grid.lo - grid.ZeroOf(set));
    const auto hi = static_cast<float>(grid.hi - grid.ZeroOf(set));
    out[i] = std::clamp(std::nearbyint(w[i] / s), lo, hi) * s;
  }
}

void ProjectBackward(const Grid& grid, std::span<const float> w, std::span<float> grad,
                     std::span<float> scale_grad) {
  std::vector<double> sums(grid.learn_scales ? grid.scales.size() : 0, 0.0);
  std::vector<int64_t> counts(sums.size(), 0);
  for (size_t i = 0; i < w.size(); ++i) {
    const int32_t set = grid.set_of[i];
    const auto lo = static_cast<float>(grid.lo - grid.ZeroOf(set));
    const auto hi = static_cast<float>(grid.hi - grid.ZeroOf(set));
    const float level = w[i] / grid.scales[set];
    const bool inside = level >= lo && level <= hi;
    if (!sums.empty()) {
      const float slope = inside ? std::nearbyint(level) - level : level < lo ? lo : hi;
      sums[set] += static_cast<double>(grad[i]) * static_cast<double>(slope);
      ++counts[set];
    }
    if (!inside) grad[i] = 0;
  }
  for (size_t set = 0; set < sums.size(); ++set) {
    const int64_t zero = grid.ZeroOf(static_cast<int32_t>(set));
    const int64_t most = std::max<int64_t>({1, grid.hi - zero, zero - grid.lo});
    const double n = static_cast<double>(std::max<int64_t>(1, counts[set]));
    scale_grad[set] = static_cast<float>(sums[set] / std::sqrt(n * static_cast<double>(most)));
  }
}

void SettleScales(Grid& grid) {
  for (float& scale : grid.scales) {
    scale = std::max(scale, grid.half_scales ? kLeastHalf : kLeastFloat);
    if (grid.half_scales) scale = HalfToFloat(FloatToHalf(scale));
  }
}

std::vector<int32_t> SetsOf(const Shape& dims, Shape scale_dims, int64_t block) {
  if (scale_dims.size() > dims.size()) {
    // A scale of one element, in whatever shape.
    for (const int64_t extent : scale_dims) {
      if (extent != 1) return {};
    }
    scale_dims.clear();
  }
  scale_dims.insert(scale_dims.begin(), dims.size() - scale_dims.size(), 1);
  int64_t elements = 1;
  int64_t sets = 1;
  for (size_t a = 0; a < dims.size(); ++a) {
    const int64_t blocks = block > 0 ? (dims[a] + block - 1) / block : -1;
    if (scale_dims[a] != 1 && scale_dims[a] != dims[a] && scale_dims[a] != blocks) return {};
    elements *= dims[a];
    sets *= scale_dims[a];
  }
  if (sets > std::numeric_limits<int32_t>::max()) return {};
  std::vector<int64_t> strides(dims.size(), 0);
  int64_t stride = 1;
  for (size_t a = dims.size(); a-- > 0;) {
    strides[a] = scale_dims[a] == 1 ? 0 : stride;
    stride *= scale_dims[a];
  }
  std::vector<int32_t> out(static_cast<size_t>(elements));
  Shape at(dims.size(), 0);
  for (int64_t i = 0; i < elements; ++i) {
    int64_t set = 0;
    for (size_t a = 0; a < dims.size(); ++a) {
      const int64_t place = scale_dims[a] == dims[a] || block <= 0 ? at[a] : at[a] / block;
      set += strides[a] * place;
    }
    out[static_cast<size_t>(i)] = static_cast<int32_t>(set);
    for (size_t a = dims.size(); a-- > 0;) {
      if (++at[a] < dims[a]) break;
      at[a] = 0;
    }
  }
  return out;
}

}  // namespace lathe::engine
