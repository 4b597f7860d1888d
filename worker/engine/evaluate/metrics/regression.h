// How far predicted numbers are from true ones.
//
// Over the columns of an example (every element of an output [n, ...]), weighted by example, as
// scikit-learn does with multioutput="uniform_average":
//   MAE  = mean over columns of sum(w |y - y'|) / sum(w)
//   RMSE = mean over columns of sqrt(sum(w (y - y')^2) / sum(w))
//   R2   = mean over columns of 1 - sum(w (y - y')^2) / sum(w (y - mean(y))^2)
// R2 of a column whose target is constant is 1 where the prediction is exact and 0 otherwise; it
// does not exist for fewer than two examples. Targets' variance is summed by Welford's method.
#ifndef LATHE_WORKER_ENGINE_EVALUATE_METRICS_REGRESSION_H_
#define LATHE_WORKER_ENGINE_EVALUATE_METRICS_REGRESSION_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "worker/engine/evaluate/metrics/arrays.h"
#include "worker/engine/evaluate/metrics/example_score.h"

namespace lathe::engine {

// Memory O(columns), whatever the number of examples.
class Regression {
 public:
  // predictions [n, ...]; labels.values (or ids, as numbers) of the same shape but for axes of size
  // 1. Predictions that are NaN or infinite are left out and counted; such a target is an error.
  // Appends |error| summed and the number of elements of each example to `examples` when that is
  // not null. INVALID_ARGUMENT: shapes, targets or weights that do not fit; nothing is added then.
  absl::Status Add(const NamedArray& predictions, const LabelBatch& labels,
                   std::vector<ExampleScore>* examples);
  // Adds what `other` has seen. INVALID_ARGUMENT when it saw another number of columns.
  absl::Status Merge(const Regression& other);

  int64_t examples() const { return examples_; }
  std::vector<std::string> Warnings() const;
  // mae, rmse, r2, columns, examples, non_finite.
  nlohmann::json Result() const;

 private:
  struct Column {
    int64_t count = 0;
    double weight = 0;
    double absolute = 0;
    double squared = 0;
    double mean = 0;    // of the target
    double moment = 0;  // sum(w (y - mean)^2)
  };

  int64_t examples_ = 0;
  int64_t non_finite_ = 0;
  std::vector<Column> columns_;
};

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_EVALUATE_METRICS_REGRESSION_H_
