#include "worker/engine/evaluate/histogram.h"

#include <algorithm>
#include <cmath>

namespace lathe::engine {

void Histogram::Cover(std::span<const float> values) {
  if (!counts_.empty()) return;
  bool any = false;
  for (const float v : values) {
    if (!std::isfinite(v)) continue;
    low_ = any ? std::min<double>(low_, v) : v;
    high_ = any ? std::max<double>(high_, v) : v;
    any = true;
  }
  if (!any) return;
  // A constant needs some width.
  if (!(high_ > low_)) {
    const double width = std::max(1e-6, std::abs(low_) * 1e-3);
    low_ -= width;
    high_ += width;
  }
  counts_.assign(kBins, 0);
}

void Histogram::Add(std::span<const float> values) {
  Cover(values);
  if (counts_.empty()) return;
  const double scale = kBins / (high_ - low_);
  for (const float v : values) {
    if (std::isnan(v)) continue;
    const double at = std::clamp((v - low_) * scale, 0.0, kBins - 1.0);
    ++counts_[static_cast<size_t>(at)];
  }
}

std::vector<double> Histogram::Edges() const {
  std::vector<double> edges;
  for (int i = 0; i <= kBins; ++i) edges.push_back(low_ + (high_ - low_) * i / kBins);
  return edges;
}

}  // namespace lathe::engine
