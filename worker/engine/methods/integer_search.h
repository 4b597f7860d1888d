// Which layers run in integers: the fastest choice whose error stays in bounds.
//
//   1. All layers that can, except those that would be slower so (by IntegerCost).
//   2. When the outputs' noise is too large: each layer's own share is measured (it alone in
//      integers), and layers go back to float, the most noise for the least time first, until the
//      sum of shares is small enough; the whole is then measured, and the sum scaled by what it was
//      wrong by. Noise of many small errors adds up (they are uncorrelated), which makes the sum a
//      fair guess; the measurement decides.
// With an accuracy to keep instead, step 2 lowers the noise by 3 dB at a time until that is kept.
//   3. Layers whose time hardly counts and whose noise does go back to float too.
// Matrix products may take ranges of each run (dynamic) instead of ranges from calibration: that is
// tried before float.
#ifndef LATHE_WORKER_ENGINE_METHODS_INTEGER_SEARCH_H_
#define LATHE_WORKER_ENGINE_METHODS_INTEGER_SEARCH_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "worker/engine/calibrate/output_noise.h"
#include "worker/engine/methods/integer_cost.h"
#include "worker/engine/methods/integer_planner.h"
#include "worker/engine/tensor/parallel.h"

namespace lathe::engine {

struct SearchRequest {
  const Model* model = nullptr;  // float; the units were found in it
  const std::vector<IntegerUnit>* units = nullptr;
  const IntegerCost* cost = nullptr;
  const IntegerPlanner* planner = nullptr;
  const OutputNoise* noise = nullptr;
  bool allow_static = true;
  bool allow_dynamic = true;
  bool prefer_speed = true;    // false: every layer that can, whatever it costs in time
  bool keep_in_bounds = true;  // false: whatever it costs in error
  double min_sqnr_db = 20;
  // Instead of min_sqnr_db: the accuracy of a candidate, and the least that it must have.
  std::function<absl::StatusOr<double>(const Model&)> accuracy;
  double min_accuracy = 0;
  // Most layers (by weight) that go back to float for their error; those that are no faster in
  // integers do not count.
  int64_t most_float = INT64_MAX;
  std::vector<bool> fixed_float;  // one a unit: stays float
  // The whole candidate, weights of float layers included; for measurements that decide.
  std::function<absl::StatusOr<Model>(const IntegerPlan&)> build;
  Parallel* parallel = nullptr;
  std::function<void(double, const std::string&)> progress;
  std::function<bool()> cancelled;
};

struct SearchResult {
  std::vector<UnitForm> forms;
  // One a unit: why it is float; "" for those that are not.
  std::vector<std::string> reasons;
  // One a unit: output noise of it alone in integers, in dB; absent where it was not measured.
  std::vector<std::optional<double>> alone_db;
  double sqnr_db = 0;              // of the whole, measured
  std::optional<double> accuracy;  // likewise, where it was asked for
  double speedup = 1;              // estimated, over the float model
  std::vector<std::string> notes;
};

// Errors: those of building and running candidates; CANCELLED.
absl::StatusOr<SearchResult> SearchIntegers(const SearchRequest& request);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_METHODS_INTEGER_SEARCH_H_
