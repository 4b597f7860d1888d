// Average precision of ranked detections, as the COCO evaluation has it (T.-Y. Lin et al.,
// Microsoft COCO, ECCV 2014; pycocotools' COCOeval).
//
// Detections of a class over all images by score, the earlier first of equal ones: precision and
// recall after each; precision is made non-increasing from the right, and read at the recalls
// 0, 0.01, ..., 1 (0 where that recall is not reached). AP is the mean of those 101 values, mAP the
// mean over the classes that have true boxes.
#ifndef LATHE_WORKER_ENGINE_EVALUATE_METRICS_AVERAGE_PRECISION_H_
#define LATHE_WORKER_ENGINE_EVALUATE_METRICS_AVERAGE_PRECISION_H_

#include <array>
#include <cstdint>
#include <map>
#include <span>
#include <vector>

namespace lathe::engine {

// Least overlaps (intersection over union) at which a box counts as found: 0.5, 0.55, ..., 0.95.
inline constexpr int kOverlaps = 10;
const std::array<double, kOverlaps>& Overlaps();

struct Detected {
  float score = 0;
  uint32_t image = 0;
  uint32_t found = 0;  // bit t: it found a true box at Overlaps()[t]
};

struct ImageTruth {
  uint32_t image = 0;
  uint32_t boxes = 0;
};

struct ClassDetections {
  std::vector<Detected> detected;
  std::vector<ImageTruth> truth;  // images with true boxes of the class
};

struct MeanAveragePrecision {
  double at_50 = 0;     // NaN when no class has true boxes
  double at_50_95 = 0;  // mean over the ten overlaps
  std::map<int64_t, std::array<double, kOverlaps>> by_class;
};

// Sorts each class by score; what MeanPrecision wants.
void RankDetections(std::map<int64_t, ClassDetections>* classes);

// image_weights: how often each image counts; empty: once.
MeanAveragePrecision MeanPrecision(const std::map<int64_t, ClassDetections>& ranked,
                                   std::span<const double> image_weights);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_EVALUATE_METRICS_AVERAGE_PRECISION_H_
