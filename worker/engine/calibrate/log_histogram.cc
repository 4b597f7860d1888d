#include "worker/engine/calibrate/log_histogram.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace lathe::engine {
namespace {

constexpr int kMantissaBits = 23;

double ValueOfBits(uint32_t bits) { return std::bit_cast<float>(bits); }

}  // namespace

void LogHistogram::Add(std::span<const float> values, int64_t stride) {
  const auto size = static_cast<int64_t>(values.size());
  for (int64_t i = 0; i < size; i += stride) {
    const auto bits = std::bit_cast<uint32_t>(values[static_cast<size_t>(i)]);
    ++count_;
    if ((bits << 1) == 0) {
      ++zeros_;
      continue;
    }
    std::unique_ptr<Octave>& octave = octaves_[bits >> kMantissaBits];
    if (octave == nullptr) octave = std::make_unique<Octave>(Octave{});
    ++(*octave)[(bits >> (kMantissaBits - kFractionBits)) & (kBinsAnOctave - 1)];
  }
}

void LogHistogram::Merge(const LogHistogram& other) {
  for (size_t i = 0; i < octaves_.size(); ++i) {
    if (other.octaves_[i] == nullptr) continue;
    if (octaves_[i] == nullptr) octaves_[i] = std::make_unique<Octave>(Octave{});
    for (size_t j = 0; j < octaves_[i]->size(); ++j) (*octaves_[i])[j] += (*other.octaves_[i])[j];
  }
  zeros_ += other.zeros_;
  count_ += other.count_;
}

std::vector<LogHistogram::Bin> LogHistogram::Bins() const {
  std::vector<Bin> bins;
  const auto add = [&](uint32_t octave, uint32_t bin, int64_t count) {
    const uint32_t shift = kMantissaBits - kFractionBits;
    const uint32_t first = octave << kMantissaBits | bin << shift;
    const double near = ValueOfBits(first);
    const double far = ValueOfBits(first | ((1u << shift) - 1));
    bins.push_back({std::min(near, far), std::max(near, far), count});
  };
  for (uint32_t octave = 511; octave >= 256; --octave) {  // negative, largest magnitude first
    if (octaves_[octave] == nullptr) continue;
    for (uint32_t bin = kBinsAnOctave; bin-- > 0;) {
      if ((*octaves_[octave])[bin] != 0) add(octave, bin, (*octaves_[octave])[bin]);
    }
  }
  if (zeros_ > 0) bins.push_back({0, 0, zeros_});
  for (uint32_t octave = 0; octave < 256; ++octave) {
    if (octaves_[octave] == nullptr) continue;
    for (uint32_t bin = 0; bin < kBinsAnOctave; ++bin) {
      if ((*octaves_[octave])[bin] != 0) add(octave, bin, (*octaves_[octave])[bin]);
    }
  }
  return bins;
}

}  // namespace lathe::engine
