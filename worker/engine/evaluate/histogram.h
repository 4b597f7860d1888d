// Counts of values in equal bins.
#ifndef LATHE_WORKER_ENGINE_EVALUATE_HISTOGRAM_H_
#define LATHE_WORKER_ENGINE_EVALUATE_HISTOGRAM_H_

#include <cstdint>
#include <span>
#include <vector>

namespace lathe::engine {

// The least and the greatest of some values; what is not finite is passed over.
struct ValueRange {
  double low = 0;
  double high = 0;
  bool any = false;
  void Add(std::span<const float> values);
  void Add(const ValueRange& other);
};

// The range is that of the first values added; later ones outside of it are counted in the first
// or last bin. NaN is not counted.
class Histogram {
 public:
  static constexpr int kBins = 48;

  // Sets the range; only the first call does.
  void Cover(std::span<const float> values);
  // Likewise; a range without values leaves the histogram empty.
  void Cover(const ValueRange& range);
  void Add(std::span<const float> values);
  // Adds the counts of a histogram of the same range.
  void Merge(const Histogram& other);

  bool empty() const { return counts_.empty(); }
  // kBins + 1 edges.
  std::vector<double> Edges() const;
  const std::vector<int64_t>& counts() const { return counts_; }

 private:
  double low_ = 0;
  double high_ = 0;
  std::vector<int64_t> counts_;
};

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_EVALUATE_HISTOGRAM_H_
