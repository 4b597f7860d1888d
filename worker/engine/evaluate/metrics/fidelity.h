// How close an output of the compressed model is to the original's, without labels.
//
// x before, y after, over all elements that are finite in both:
//   sqnr_db        = 10 log10(sum x^2 / sum (x - y)^2)
//   cosine         = mean over examples of x.y / (|x| |y|)   (1 where both are 0, 0 where one is)
//   max_abs_error  = max |x - y|
// and over rows, which run along the last axis, of outputs with more than one axis whose last one
// is longer than 1:
//   kl             = mean of sum p (log p - log q), p = softmax(x), q = softmax(y), in nats; when
//                    every row before is a distribution (row_scores.h), p and q are the rows
//                    themselves, q clipped to at least 2^-52
//   top1_agreement = share of rows whose greatest element stands at the same place (of equal ones
//                    the first); rows before that are not finite are left out, such rows after
//                    disagree
#ifndef LATHE_WORKER_ENGINE_EVALUATE_METRICS_FIDELITY_H_
#define LATHE_WORKER_ENGINE_EVALUATE_METRICS_FIDELITY_H_

#include <array>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "worker/engine/evaluate/metrics/arrays.h"
#include "worker/engine/evaluate/metrics/row_scores.h"

namespace lathe::engine {

// Of one output. Memory does not grow with the examples.
class Fidelity {
 public:
  // before, after: the same shape. INVALID_ARGUMENT otherwise; nothing is added then.
  absl::Status Add(const NamedArray& before, const NamedArray& after);
  // Adds what `other` has seen, its examples numbered after those of this one.
  void Merge(const Fidelity& other);

  int64_t non_finite_before() const { return non_finite_before_; }
  int64_t non_finite_after() const { return non_finite_after_; }
  // Keys as docs/report.md lists them: those above, examples, rows, kl_of, non_finite_before,
  // non_finite_after and worst: up to 10 examples of greatest |x - y| / |x|, those first that are
  // finite on one side alone. Without NaN.
  nlohmann::json Result() const;

 private:
  static constexpr size_t kWorst = 10;

  struct Worst {
    int64_t index = 0;
    double relative_error = 0;  // infinite: not finite on one side, or x is 0 and y is not
  };

  void AddExample(std::span<const float> before, std::span<const float> after);
  void AddRow(std::span<const float> before, std::span<const float> after);
  void Keep(const Worst& worst);

  int64_t examples_ = 0;
  int64_t rows_ = 0;  // whose elements before are finite
  int64_t kl_rows_ = 0;
  int64_t agreed_ = 0;
  int64_t non_finite_before_ = 0;
  int64_t non_finite_after_ = 0;
  bool distributions_ = true;
  double signal_ = 0;
  double noise_ = 0;
  double cosines_ = 0;
  double max_abs_error_ = 0;
  std::array<double, kScoreKinds> kl_ = {};
  std::vector<Worst> worst_;  // worst first
};

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_EVALUATE_METRICS_FIDELITY_H_
