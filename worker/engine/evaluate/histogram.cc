#include "worker/engine/evaluate/histogram.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace lathe::engine {

void ValueRange::Add(std::span<const float> values) {
  // Infinities are told apart from values by comparisons alone, which compilers keep in vectors.
  constexpr float kMax = std::numeric_limits<float>::max();
  float least = kMax;
  float greatest = -kMax;
  bool found = false;
  for (const float v : values) {
    const bool finite = v >= -kMax && v <= kMax;
    least = finite && v < least ? v : least;
    greatest = finite && v > greatest ? v : greatest;
    found |= finite;
  }
  if (found) Add(ValueRange{least, greatest, true});
}

void ValueRange::Add(const ValueRange& other) {
  if (!other.any) return;
  low = any ? std::min(low, other.low) : other.low;
  high = any ? std::max(high, other.high) : other.high;
  any = true;
}

void Histogram::Cover(std::span<const float> values) {
  if (!counts_.empty()) return;
  ValueRange range;
  range.Add(values);
  Cover(range);
}

void Histogram::Cover(const ValueRange& range) {
  if (!counts_.empty() || !range.any) return;
  low_ = range.low;
  high_ = range.high;
  // A constant needs some width.
  if (!(high_ > low_)) {
    const double width = std::max(1e-6, std::abs(low_) * 1e-3);
    low_ -= width;
    high_ += width;
  }
  counts_.assign(kBins, 0);
}

void Histogram::Merge(const Histogram& other) {
  for (size_t i = 0; i < other.counts_.size(); ++i) counts_[i] += other.counts_[i];
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
