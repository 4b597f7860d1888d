#include "worker/engine/evaluate/metrics/bootstrap.h"

#include <algorithm>
#include <cmath>

#include "common/limits.h"

namespace lathe::engine {
namespace {

constexpr uint64_t kGolden = 0x9e3779b97f4a7c15u;

// SplitMix64's finalizer (G. Steele et al., Fast splittable pseudorandom number generators,
// OOPSLA 2014).
uint64_t Mix(uint64_t x) {
  x ^= x >> 30;
  x *= 0xbf58476d1ce4e5b9u;
  x ^= x >> 27;
  x *= 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

// `share` in [0, 1] of sorted, not empty.
double Quantile(const std::vector<double>& sorted, double share) {
  const double at = share * static_cast<double>(sorted.size() - 1);
  const double low = sorted[static_cast<size_t>(std::floor(at))];
  const double high = sorted[static_cast<size_t>(std::ceil(at))];
  return low + (high - low) * (at - std::floor(at));
}

}  // namespace

int64_t DrawUnit(uint64_t seed, int64_t resample, int64_t draw, int64_t units) {
  const uint64_t stream = Mix(Mix(seed + kGolden) + static_cast<uint64_t>(resample) * kGolden);
  const uint64_t bits = Mix(stream + (static_cast<uint64_t>(draw) + 1) * kGolden);
  return static_cast<int64_t>(
      (static_cast<unsigned __int128>(bits) * static_cast<uint64_t>(units)) >> 64);
}

BootstrapResult SummarizeResamples(std::vector<double> changes) {
  BootstrapResult result;
  std::erase_if(changes, [](double change) { return !std::isfinite(change); });
  result.resamples = static_cast<int64_t>(changes.size());
  if (changes.empty()) return result;
  std::sort(changes.begin(), changes.end());
  result.interval = {Quantile(changes, 0.025), Quantile(changes, 0.975)};
  const auto down = std::count_if(changes.begin(), changes.end(), [](double c) { return c <= 0; });
  const auto up = std::count_if(changes.begin(), changes.end(), [](double c) { return c >= 0; });
  const auto resamples = static_cast<double>(changes.size());
  result.p_value =
      std::min(1.0, 2 * (static_cast<double>(std::min(down, up)) + 1) / (resamples + 1));
  return result;
}

void PairedSums::Unit::Add(const Unit& other) {
  numerator_before += other.numerator_before;
  denominator_before += other.denominator_before;
  numerator_after += other.numerator_after;
  denominator_after += other.denominator_after;
}

void PairedSums::Add(const Unit& example) {
  if (!units_.empty() && filled_ < block_) {
    units_.back().Add(example);
    ++filled_;
    return;
  }
  if (static_cast<int64_t>(units_.size()) == limits::kMaxBootstrapUnits) {
    for (size_t i = 0; i < units_.size() / 2; ++i) {
      Unit merged = units_[2 * i];
      merged.Add(units_[2 * i + 1]);
      units_[i] = merged;
    }
    units_.resize(units_.size() / 2);
    block_ *= 2;
  }
  units_.push_back(example);
  filled_ = 1;
}

BootstrapResult PairedSums::Bootstrap(const std::function<double(double)>& figure,
                                      int64_t resamples, uint64_t seed) const {
  std::vector<double> changes;
  const auto count = static_cast<int64_t>(units_.size());
  for (int64_t r = 0; r < resamples && count > 0; ++r) {
    Unit sum;
    for (int64_t i = 0; i < count; ++i) {
      sum.Add(units_[static_cast<size_t>(DrawUnit(seed, r, i, count))]);
    }
    const double before = figure(sum.numerator_before / sum.denominator_before);
    changes.push_back(figure(sum.numerator_after / sum.denominator_after) - before);
  }
  return SummarizeResamples(std::move(changes));
}

}  // namespace lathe::engine
