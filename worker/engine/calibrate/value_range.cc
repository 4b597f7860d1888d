#include "worker/engine/calibrate/value_range.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace lathe::engine {
namespace {

constexpr float kMovingAverage = 0.9f;

ValueRange Symmetric(ValueRange range) {
  const double largest = std::max(-range.low, range.high);
  return {-largest, largest};
}

ValueRange Percentile(const LogHistogram& histogram, double percentile, bool symmetric) {
  const std::vector<LogHistogram::Bin> bins = histogram.Bins();
  const double outside = (1 - percentile / 100) * static_cast<double>(histogram.count());
  ValueRange range;
  if (symmetric) {
    // Cut by magnitude, wherever the sign.
    std::vector<std::pair<double, int64_t>> magnitudes;
    for (const auto& bin : bins) {
      magnitudes.emplace_back(std::max(-bin.low, bin.high), bin.count);
    }
    std::sort(magnitudes.rbegin(), magnitudes.rend());
    double cut = 0;
    for (const auto& [magnitude, count] : magnitudes) {
      cut += static_cast<double>(count);
      range = {-magnitude, magnitude};
      if (cut > outside) break;
    }
    return range;
  }
  double below = 0;
  for (const auto& bin : bins) {
    below += static_cast<double>(bin.count);
    if (below > outside / 2) {
      range.low = std::min(0.0, bin.low);
      break;
    }
  }
  double above = 0;
  for (auto bin = bins.rbegin(); bin != bins.rend(); ++bin) {
    above += static_cast<double>(bin->count);
    if (above > outside / 2) {
      range.high = std::max(0.0, bin->high);
      break;
    }
  }
  return range;
}

// Tries shrink ratios for one end, then the other, until neither moves.
ValueRange LeastError(const LogHistogram& histogram, ValueRange range, int bits, bool symmetric) {
  const std::vector<LogHistogram::Bin> bins = histogram.Bins();
  constexpr int kRatios = 96;      // from 1 down to about 0.02
  constexpr double kRatio = 0.96;  // each of the one before
  double best = ExpectedSquaredError(bins, range, bits);
  const ValueRange full = range;
  const auto improve = [&](bool low, bool high) {
    bool moved = false;
    double ratio = 1;
    for (int i = 0; i <= kRatios; ++i, ratio *= kRatio) {
      ValueRange tried = range;
      if (low) tried.low = full.low * ratio;
      if (high) tried.high = full.high * ratio;
      if (!(tried.high - tried.low > 0)) continue;
      const double error = ExpectedSquaredError(bins, tried, bits);
      if (error < best) {
        best = error;
        range = tried;
        moved = true;
      }
    }
    return moved;
  };
  if (symmetric) {
    improve(true, true);
    return range;
  }
  improve(true, true);
  for (int round = 0; round < 3; ++round) {
    const bool low = range.low < 0 && improve(true, false);
    const bool high = range.high > 0 && improve(false, true);
    if (!low && !high) break;
  }
  return range;
}

// Magnitudes spread over 2048 linear bins; for each number of bins kept, what lies past them is
// added to the last, and the kept ones are merged into 2^(bits-1) levels.
double EntropyThreshold(const LogHistogram& histogram, double largest, int bits) {
  constexpr int kBins = 2048;
  const int levels = std::min(1 << (bits - 1), kBins / 2);
  std::vector<double> linear(kBins, 0.0);
  for (const auto& bin : histogram.Bins()) {
    if (bin.low == 0 && bin.high == 0) continue;  // zeros tell nothing about the range
    const double low = std::min(std::abs(bin.low), std::abs(bin.high)) / largest * kBins;
    const double high = std::max(std::abs(bin.low), std::abs(bin.high)) / largest * kBins;
    const int first = std::clamp(static_cast<int>(low), 0, kBins - 1);
    const int last = std::clamp(static_cast<int>(high), first, kBins - 1);
    for (int i = first; i <= last; ++i) {
      linear[static_cast<size_t>(i)] += static_cast<double>(bin.count) / (last - first + 1);
    }
  }
  double total = 0;
  for (const double count : linear) total += count;
  if (!(total > 0)) return largest;
  double best = INFINITY;
  int best_kept = kBins;
  for (int kept = levels; kept <= kBins; kept += std::max(1, levels / 8)) {
    double past = 0;
    for (int i = kept; i < kBins; ++i) past += linear[static_cast<size_t>(i)];
    // P: as it is, the rest in the last bin. Q: each level's mean over its non-empty bins.
    double divergence = 0;
    double q_total = 0;
    std::vector<double> q(static_cast<size_t>(kept), 0.0);
    for (int level = 0; level < levels; ++level) {
      const int begin = static_cast<int>(static_cast<int64_t>(level) * kept / levels);
      const int end = static_cast<int>(static_cast<int64_t>(level + 1) * kept / levels);
      double sum = 0;
      int filled = 0;
      for (int i = begin; i < end; ++i) {
        sum += linear[static_cast<size_t>(i)];
        filled += linear[static_cast<size_t>(i)] > 0;
      }
      for (int i = begin; i < end; ++i) {
        if (linear[static_cast<size_t>(i)] > 0) q[static_cast<size_t>(i)] = sum / filled;
      }
      q_total += sum;
    }
    if (!(q_total > 0)) continue;
    for (int i = 0; i < kept; ++i) {
      const double p = (linear[static_cast<size_t>(i)] + (i == kept - 1 ? past : 0)) / total;
      // A bin that only the clipped values fill has a q of almost nothing.
      const double share = std::max(q[static_cast<size_t>(i)] / q_total, 1e-9);
      if (p > 0) divergence += p * std::log(p / share);
    }
    if (divergence < best) {
      best = divergence;
      best_kept = kept;
    }
  }
  return largest * best_kept / kBins;
}

}  // namespace

void ValueStatistics::Add(std::span<const float> values, int64_t examples) {
  if (values.empty() || !finite) return;
  // Several of each, so that the loop has no chain of dependences; a NaN or an infinity survives in
  // x - x.
  constexpr size_t kLanes = 16;
  float lows[kLanes];
  float highs[kLanes];
  float odd[kLanes] = {};
  std::fill_n(lows, kLanes, values[0]);
  std::fill_n(highs, kLanes, values[0]);
  size_t i = 0;
  for (; i + kLanes <= values.size(); i += kLanes) {
    for (size_t lane = 0; lane < kLanes; ++lane) {
      const float value = values[i + lane];
      lows[lane] = value < lows[lane] ? value : lows[lane];
      highs[lane] = value > highs[lane] ? value : highs[lane];
      odd[lane] += value - value;
    }
  }
  for (; i < values.size(); ++i) {
    lows[0] = std::min(lows[0], values[i]);
    highs[0] = std::max(highs[0], values[i]);
    odd[0] += values[i] - values[i];
  }
  for (const float lane : odd) finite = finite && lane == 0;
  if (!finite) return;
  const float low = *std::min_element(lows, lows + kLanes);
  const float high = *std::max_element(highs, highs + kLanes);
  if (batches == 0) {
    minimum = average_minimum = low;
    maximum = average_maximum = high;
  } else {
    minimum = std::min(minimum, low);
    maximum = std::max(maximum, high);
    average_minimum = kMovingAverage * average_minimum + (1 - kMovingAverage) * low;
    average_maximum = kMovingAverage * average_maximum + (1 - kMovingAverage) * high;
  }
  ++batches;
  const auto size = static_cast<int64_t>(values.size());
  elements += size;
  elements_an_example = size / std::max<int64_t>(1, examples);
  // Odd, so that it walks over all places of axes whose extent is a power of two.
  const int64_t stride = size <= 2 * kSampledElements ? 1 : (size / kSampledElements - 1) | 1;
  histogram.Add(values, stride);
}

double ExpectedSquaredError(std::span<const LogHistogram::Bin> bins, const ValueRange& range,
                            int bits) {
  const auto steps = static_cast<double>((int64_t{1} << bits) - 1);
  const double step = (range.high - range.low) / steps;
  if (!(step > 0)) return INFINITY;
  // Zero is a level, so the ends of the range as a rule are none.
  const double below = std::nearbyint(-range.low / step);
  const double bottom = -below * step;
  const double top = (steps - below) * step;
  double sum = 0;
  double count = 0;
  for (const auto& bin : bins) {
    const double middle = (bin.low + bin.high) / 2;
    double error = 0;
    if (middle > top) {
      error = (middle - top) * (middle - top);
    } else if (middle < bottom) {
      error = (middle - bottom) * (middle - bottom);
    } else if (bin.high - bin.low > step / 2) {
      error = step * step / 12;  // the bin's values lie anywhere between two steps
    } else {
      const double rounded = std::nearbyint(middle / step) * step;
      error = (middle - rounded) * (middle - rounded);
    }
    sum += error * static_cast<double>(bin.count);
    count += static_cast<double>(bin.count);
  }
  return count > 0 ? sum / count : 0;
}

ValueRange ChooseRange(const ValueStatistics& seen, const RangeRule& rule) {
  ValueRange all = {std::min(0.0, static_cast<double>(seen.minimum)),
                    std::max(0.0, static_cast<double>(seen.maximum))};
  if (rule.symmetric) all = Symmetric(all);
  if (!(all.high - all.low > 0)) return all;
  switch (rule.method) {
    case RangeMethod::kMinMax:
      return all;
    case RangeMethod::kMovingAverage: {
      const ValueRange average = {std::min(0.0, static_cast<double>(seen.average_minimum)),
                                  std::max(0.0, static_cast<double>(seen.average_maximum))};
      return rule.symmetric ? Symmetric(average) : average;
    }
    case RangeMethod::kPercentile:
      return Percentile(seen.histogram, rule.percentile, rule.symmetric);
    case RangeMethod::kMse:
      return LeastError(seen.histogram, all, rule.bits, rule.symmetric);
    case RangeMethod::kEntropy: {
      const double threshold =
          EntropyThreshold(seen.histogram, std::max(-all.low, all.high), rule.bits);
      return {std::max(all.low, -threshold), std::min(all.high, threshold)};
    }
  }
  return all;
}

}  // namespace lathe::engine
