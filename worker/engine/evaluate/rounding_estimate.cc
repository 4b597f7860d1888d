#include "worker/engine/evaluate/rounding_estimate.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "worker/engine/evaluate/decode.h"

namespace lathe::engine {
namespace {

constexpr int64_t kGroup = 32;
constexpr int64_t kRunElements = 1024;

}  // namespace

std::optional<double> EstimateRoundingSqnr(const Tensor& tensor, int bits) {
  const int64_t size = tensor.size();
  if (!IsFloat(tensor.dtype) || size == 0) return std::nullopt;
  const int64_t runs =
      std::min((size + kRunElements - 1) / kRunElements, kSampledElements / kRunElements);
  const int64_t last = std::max<int64_t>(0, size - kRunElements);
  const auto most = static_cast<double>((1 << (bits - 1)) - 1);
  double signal = 0;
  double noise = 0;
  for (int64_t run = 0; run < runs; ++run) {
    const int64_t begin = runs == 1 ? 0 : last / (runs - 1) * run;
    const auto values = DecodeElements(tensor, begin, std::min(kRunElements, size - begin));
    if (!values.ok()) return std::nullopt;
    for (size_t at = 0; at < values->size(); at += kGroup) {
      const size_t end = std::min(values->size(), at + kGroup);
      double peak = 0;
      for (size_t i = at; i < end; ++i) peak = std::max<double>(peak, std::abs((*values)[i]));
      if (!(peak > 0) || !std::isfinite(peak)) continue;
      const double scale = peak / most;
      for (size_t i = at; i < end; ++i) {
        const double w = (*values)[i];
        const double d = w - std::nearbyint(w / scale) * scale;
        signal += w * w;
        noise += d * d;
      }
    }
  }
  if (!(signal > 0) || !(noise > 0)) return std::nullopt;
  return 10 * std::log10(signal / noise);
}

}  // namespace lathe::engine
