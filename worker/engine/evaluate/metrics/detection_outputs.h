// Which boxes a detector has put out: its outputs found, and read as they are laid out.
//
//   separate: boxes [n, m, 4], scores [n, m] and classes [n, m], three outputs
//   rows:     [n, m, 6], a row of four numbers of the box, its score and its class
//   raw:      [n, 4 + classes, m], before suppression: for each of m places a box and the score of
//             each class, as the YOLO family from version 8 on puts them out
// Of raw outputs every class of a place is a box of its own. Those of at least min_score are taken
// from the highest score down, except those that overlap one taken of the same class by more than
// max_overlap (greedy non-maximum suppression), until there are max_boxes; of equal scores the
// lower class, then the lower place comes first.
#ifndef LATHE_WORKER_ENGINE_EVALUATE_METRICS_DETECTION_OUTPUTS_H_
#define LATHE_WORKER_ENGINE_EVALUATE_METRICS_DETECTION_OUTPUTS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "worker/engine/evaluate/metrics/arrays.h"
#include "worker/engine/evaluate/metrics/detection.h"

namespace lathe::engine {

enum class DetectionForm { kAuto, kSeparate, kRows, kRaw };
// What the four numbers of a box are: two corners, rows first, a corner and a size, or a centre and
// a size. kAuto: kCxCyWh for raw outputs, kXyXy for the others.
enum class BoxFormat { kAuto, kXyXy, kYxYx, kXyWh, kCxCyWh };

struct DetectionOptions {
  DetectionForm form = DetectionForm::kAuto;
  BoxFormat box_format = BoxFormat::kAuto;
  std::string output;  // of kRows and kRaw; empty: the model's first
  // Of kSeparate; empty: the output whose name says so ("box", "score" or "conf", "class" or
  // "label"), otherwise the model's first, second and third.
  std::string boxes_output;
  std::string scores_output;
  std::string classes_output;
  // Of kRaw. min_score in [0, 1], max_overlap in [0, 1], max_boxes >= 1.
  double min_score = 0.001;
  double max_overlap = 0.7;
  int64_t max_boxes = 300;
};

// A batch's boxes in one form. Holds what it has computed, and borrows the rest from the outputs.
class DetectedBoxes {
 public:
  DetectedBoxes() = default;
  DetectedBoxes(const DetectedBoxes&) = delete;
  DetectedBoxes& operator=(const DetectedBoxes&) = delete;

  // `examples`: of the batch. An output without an axis of examples serves a batch of one. With
  // kAuto: kSeparate where scores_output or classes_output is named or the output of boxes is
  // [n, m, 4]; otherwise kRows for [n, m, 6] and kRaw for other arrays of three axes.
  // NOT_FOUND: no such output. INVALID_ARGUMENT: a shape that does not fit, naming the output, what
  // was expected and what is there. RESOURCE_EXHAUSTED: more places than limits::kMaxDetectionBoxes
  // an image.
  absl::Status Read(const OutputBatch& outputs, const DetectionOptions& options, int64_t examples);

  const DetectionOutputs& outputs() const { return found_; }

 private:
  absl::Status ReadSeparate(const OutputBatch& outputs, const DetectionOptions& options,
                            int64_t examples);
  absl::Status ReadRows(const NamedArray& rows, BoxFormat format);
  absl::Status ReadRaw(const NamedArray& raw, const DetectionOptions& options);
  // Sets found_ to the vectors below, `boxes` an image.
  void Show(const std::string& name, int64_t images, int64_t boxes);

  DetectionOutputs found_;
  std::vector<float> boxes_;
  std::vector<float> scores_;
  std::vector<float> classes_;
};

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_EVALUATE_METRICS_DETECTION_OUTPUTS_H_
