// An interval for the change of a figure, by drawing the examples again and again.
//
// B. Efron, Bootstrap methods: another look at the jackknife, Ann. Statist. 1979; the percentile
// interval. Examples are drawn in pairs: what both models did on one stays together. Draw i of
// resample r takes unit floor(h * units / 2^64), h = SplitMix64's finalizer of a counter made of
// the seed, r and i, so that the answer depends on nothing else.
#ifndef LATHE_WORKER_ENGINE_EVALUATE_METRICS_BOOTSTRAP_H_
#define LATHE_WORKER_ENGINE_EVALUATE_METRICS_BOOTSTRAP_H_

#include <array>
#include <cstdint>
#include <functional>
#include <vector>

namespace lathe::engine {

// Unit of [0, units) that draw `draw` of resample `resample` takes. 0 < units < 2^32.
int64_t DrawUnit(uint64_t seed, int64_t resample, int64_t draw, int64_t units);

struct BootstrapResult {
  int64_t resamples = 0;
  std::array<double, 2> interval = {0, 0};  // 95 %, of the change
  // Two-sided: twice the smaller share of resamples on one side of no change (those without change
  // count on both), (k + 1) / (resamples + 1), at most 1.
  double p_value = 1;
};

// From the changes of all resamples, NaN where a resample has no figure (those are left out). The
// ends of the interval interpolate linearly between order statistics, as numpy.quantile does.
BootstrapResult SummarizeResamples(std::vector<double> changes);

// Sums of what examples add to a figure before and after. Up to limits::kMaxBootstrapUnits units
// are kept, a unit being an example at first; when there are more, neighbours are put together two
// and two. Drawing sums of blocks of independent examples gives the same spread, at bounded memory
// (2 MiB) and time.
class PairedSums {
 public:
  struct Unit {
    double numerator_before = 0;
    double denominator_before = 0;
    double numerator_after = 0;
    double denominator_after = 0;

    void Add(const Unit& other);
  };

  // Examples in order. Finite values.
  void Add(const Unit& example);
  int64_t examples_a_unit() const { return block_; }
  const std::vector<Unit>& units() const { return units_; }

  // The change of figure(numerator / denominator), after - before. O(resamples * units).
  BootstrapResult Bootstrap(const std::function<double(double)>& figure, int64_t resamples,
                            uint64_t seed) const;

 private:
  int64_t block_ = 1;   // examples of a whole unit
  int64_t filled_ = 0;  // examples of the last one
  std::vector<Unit> units_;
};

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_EVALUATE_METRICS_BOOTSTRAP_H_
