// How well predicted boxes find true ones: mAP (average_precision.h).
//
// Within an image and class, the boxes of highest score come first, 100 at most; each takes the
// true box not taken yet that it overlaps most, if by the overlap asked for (COCO's greedy
// matching; of equal overlaps the later box). What COCO knows besides is left out: there are no
// crowd boxes to be passed over, and no bounds on areas.
#ifndef LATHE_WORKER_ENGINE_EVALUATE_METRICS_DETECTION_H_
#define LATHE_WORKER_ENGINE_EVALUATE_METRICS_DETECTION_H_

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "worker/engine/evaluate/metrics/arrays.h"
#include "worker/engine/evaluate/metrics/average_precision.h"
#include "worker/engine/evaluate/metrics/bootstrap.h"

namespace lathe::engine {

struct DetectionOutputs {
  NamedArray boxes;    // [n, m, 4]: x1, y1, x2, y2, in any unit, the same as the true boxes
  NamedArray scores;   // [n, m]
  NamedArray classes;  // [n, m]: whole numbers from 0 on; negative: no box (padding)
};

// Matches boxes as images come; keeps 12 bytes for each of them until the end, which is bounded by
// limits::kMaxDetections.
class Detection {
 public:
  // True boxes: labels.values [n, k, 4] and their classes labels.ids [n, k], -1 for padding.
  // Weights are not defined for mAP and are refused. Predicted boxes with NaN, infinities or a
  // class that is no whole number are left out and counted; a predicted box of no area overlaps
  // nothing. INVALID_ARGUMENT: shapes that do not fit, true boxes that are not x1 <= x2, y1 <= y2.
  // RESOURCE_EXHAUSTED: more boxes than the limits allow. After an error the rest is not defined.
  absl::Status Add(const DetectionOutputs& outputs, const LabelBatch& labels);

  int64_t examples() const { return images_; }
  std::vector<std::string> Warnings() const;
  // map_50, map_50_95, per_class {class, ap_50, ap_50_95} up to limits::kMaxListedClasses, boxes,
  // true_boxes, non_finite, examples.
  nlohmann::json Result() const;

 private:
  friend BootstrapResult BootstrapDetection(const Detection& before, const Detection& after,
                                            int64_t resamples, uint64_t seed);

  int64_t images_ = 0;
  int64_t boxes_ = 0;
  int64_t true_boxes_ = 0;
  int64_t non_finite_ = 0;
  std::map<int64_t, ClassDetections> classes_;
};

// The change of mAP@0.5:0.95 over images drawn with replacement. Takes as many of `resamples` as a
// budget of arithmetic allows for that many boxes; none when those are fewer than 100.
BootstrapResult BootstrapDetection(const Detection& before, const Detection& after,
                                   int64_t resamples, uint64_t seed);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_EVALUATE_METRICS_DETECTION_H_
