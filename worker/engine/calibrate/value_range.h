// Which range of a tensor's values integers are to cover.
//
// The range always includes zero. Methods: minmax (all that was seen), moving_average (of each
// batch's extremes, 0.9 of the old and 0.1 of the new), percentile (the smallest range that holds
// so many of the values, both ends cut alike), mse (least expected squared error of rounding and
// clipping), entropy (least Kullback-Leibler divergence between the distribution and its quantized
// form, over 2048 bins of magnitude: the method of TensorRT's calibrator, S. Migacz, GTC 2017).
#ifndef LATHE_WORKER_ENGINE_CALIBRATE_VALUE_RANGE_H_
#define LATHE_WORKER_ENGINE_CALIBRATE_VALUE_RANGE_H_

#include <cstdint>
#include <span>

#include "worker/engine/calibrate/log_histogram.h"

namespace lathe::engine {

// What was seen of a tensor.
struct ValueStatistics {
  float minimum = 0;  // of all values
  float maximum = 0;
  float average_minimum = 0;  // moving averages over batches
  float average_maximum = 0;
  int64_t batches = 0;
  int64_t elements = 0;             // of all batches
  int64_t elements_an_example = 0;  // of the last batch
  bool finite = true;               // false: a NaN or an infinity was seen; the rest stands still
  LogHistogram histogram;           // of at least kSampledElements a batch, or of all

  // One batch of `examples` examples.
  void Add(std::span<const float> values, int64_t examples);

  static constexpr int64_t kSampledElements = 1 << 15;
};

enum class RangeMethod { kMinMax, kMovingAverage, kPercentile, kMse, kEntropy };

struct RangeRule {
  RangeMethod method = RangeMethod::kMse;
  double percentile = 99.99;  // %
  int bits = 8;
  bool symmetric = false;
};

struct ValueRange {
  double low = 0;  // <= 0 <= high
  double high = 0;
};

ValueRange ChooseRange(const ValueStatistics& seen, const RangeRule& rule);

// Expected squared error of a value, rounded to 2^bits steps over `range` and clipped to it.
double ExpectedSquaredError(std::span<const LogHistogram::Bin> bins, const ValueRange& range,
                            int bits);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_CALIBRATE_VALUE_RANGE_H_
