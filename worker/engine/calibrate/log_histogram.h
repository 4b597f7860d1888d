// Counts of float32 values in bins of equal relative width, so that no range need be known
// beforehand and an outlier costs nothing.
//
// A bin is what a value's sign, exponent and first six bits of the fraction leave together: 64 bins
// an octave, each at most 1.6 % wide. Histograms of parts of the data add up to that of the whole,
// in any order.
#ifndef LATHE_WORKER_ENGINE_CALIBRATE_LOG_HISTOGRAM_H_
#define LATHE_WORKER_ENGINE_CALIBRATE_LOG_HISTOGRAM_H_

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace lathe::engine {

class LogHistogram {
 public:
  // Every `stride`-th value, from the first; stride >= 1. Values must be finite.
  void Add(std::span<const float> values, int64_t stride = 1);
  void Merge(const LogHistogram& other);

  int64_t count() const { return count_; }

  struct Bin {
    double low = 0;  // the bin's values lie in [low, high], by rising value
    double high = 0;
    int64_t count = 0;
  };
  // Bins that hold something, by rising value. Zeros have a bin of their own, [0, 0].
  std::vector<Bin> Bins() const;

 private:
  static constexpr int kFractionBits = 6;
  static constexpr int kBinsAnOctave = 1 << kFractionBits;
  using Octave = std::array<int64_t, kBinsAnOctave>;

  // By sign and exponent, as in the value's bits; null: empty.
  std::array<std::unique_ptr<Octave>, 512> octaves_;
  int64_t zeros_ = 0;
  int64_t count_ = 0;
};

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_CALIBRATE_LOG_HISTOGRAM_H_
