#include "worker/engine/evaluate/metrics/detection.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "common/limits.h"
#include "common/status_macros.h"
#include "worker/engine/evaluate/metrics/box.h"
#include "worker/engine/evaluate/metrics/json_number.h"

namespace lathe::engine {
namespace {

constexpr size_t kMaxAnImageAndClass = 100;  // COCO's maxDets
constexpr float kMaxClassId = 16777216.0f;   // whole numbers are exact in float32 up to here
constexpr int64_t kMinResamples = 100;
constexpr int64_t kBootstrapSteps = int64_t{2'000'000'000};  // some ten seconds

Box BoxAt(std::span<const float> values, int64_t index) {
  const auto at = static_cast<size_t>(index) * 4;
  return {values[at], values[at + 1], values[at + 2], values[at + 3]};
}

struct Candidate {
  float score;
  Box box;
};

// For each candidate, by score, bit t of `found`: it takes a true box at overlap t.
std::vector<uint32_t> Match(const std::vector<Candidate>& candidates,
                            const std::vector<Box>& truth) {
  std::vector<uint32_t> found(candidates.size(), 0);
  std::vector<uint32_t> taken(truth.size(), 0);
  std::vector<double> overlaps(truth.size());
  for (size_t d = 0; d < candidates.size(); ++d) {
    for (size_t g = 0; g < truth.size(); ++g) overlaps[g] = Overlap(candidates[d].box, truth[g]);
    for (size_t t = 0; t < kOverlaps; ++t) {
      double least = std::min(Overlaps()[t], 1 - 1e-10);
      size_t best = truth.size();
      for (size_t g = 0; g < truth.size(); ++g) {
        if ((taken[g] >> t & 1) != 0 || overlaps[g] < least) continue;
        least = overlaps[g];
        best = g;
      }
      if (best == truth.size()) continue;
      taken[best] |= 1u << t;
      found[d] |= 1u << t;
    }
  }
  return found;
}

absl::Status CheckBoxes(absl::string_view boxes_name, const Shape& boxes, const Shape& classes) {
  if (boxes.size() != 3 || boxes[2] != 4 || classes != Shape{boxes[0], boxes[1]}) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", boxes_name, "' is ", DimsText(boxes), " and its classes ",
                     DimsText(classes), "; expected boxes [n, boxes, 4] and classes [n, boxes]"));
  }
  if (boxes[1] > limits::kMaxDetectionBoxes) {
    return absl::ResourceExhaustedError(absl::StrCat("'", boxes_name, "' ", DimsText(boxes),
                                                     " has ", boxes[1], " boxes an image; at most ",
                                                     limits::kMaxDetectionBoxes));
  }
  return absl::OkStatus();
}

absl::Status CheckInputs(const DetectionOutputs& outputs, const LabelBatch& labels) {
  for (const NamedArray* array : {&outputs.boxes, &outputs.scores, &outputs.classes}) {
    RETURN_IF_ERROR(CheckArray(array->name, array->array.dims, array->array.values.size()));
  }
  const Shape& boxes = outputs.boxes.array.dims;
  RETURN_IF_ERROR(CheckBoxes(outputs.boxes.name, boxes, outputs.classes.array.dims));
  RETURN_IF_ERROR(CheckBoxes(outputs.boxes.name, boxes, outputs.scores.array.dims));
  if (!labels.weights.empty()) {
    return absl::InvalidArgumentError("'weights' are not defined for detection; leave them out");
  }
  if (!labels.values || !labels.ids) {
    return absl::InvalidArgumentError(absl::StrCat(
        "'", labels.key, "' must hold the true boxes [n, boxes, 4] and their classes [n, boxes]"));
  }
  RETURN_IF_ERROR(CheckArray(labels.key, labels.values->dims, labels.values->values.size()));
  RETURN_IF_ERROR(CheckArray(labels.key, labels.ids->dims, labels.ids->values.size()));
  RETURN_IF_ERROR(CheckBoxes(labels.key, labels.values->dims, labels.ids->dims));
  if (labels.values->dims[0] != boxes[0]) {
    return absl::InvalidArgumentError(absl::StrCat("'", labels.key, "' has ",
                                                   labels.values->dims[0], " examples, output '",
                                                   outputs.boxes.name, "' ", boxes[0]));
  }
  if (boxes[1] * labels.values->dims[1] > limits::kMaxMatchPairs) {
    return absl::ResourceExhaustedError(absl::StrCat(
        boxes[1], " predicted and ", labels.values->dims[1],
        " true boxes an image are too many to match; at most ", limits::kMaxMatchPairs, " pairs"));
  }
  for (size_t i = 0; i < labels.ids->values.size(); ++i) {
    if (labels.ids->values[i] < 0) continue;
    const Box box = BoxAt(labels.values->values, static_cast<int64_t>(i));
    if (!box.IsFinite() || box.x2 < box.x1 || box.y2 < box.y1) {
      return absl::InvalidArgumentError(
          absl::StrCat("box ", i, " of '", labels.key, "' in the batch is [", box.x1, ", ", box.y1,
                       ", ", box.x2, ", ", box.y2, "]; expected x1 <= x2, y1 <= y2, or class -1"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status Detection::Add(const DetectionOutputs& outputs, const LabelBatch& labels) {
  RETURN_IF_ERROR(CheckInputs(outputs, labels));
  const int64_t images = outputs.boxes.array.dims[0];
  const int64_t predicted = outputs.boxes.array.dims[1];
  const int64_t truths = labels.values->dims[1];
  for (int64_t e = 0; e < images; ++e) {
    const auto image = static_cast<uint32_t>(images_++);
    std::map<int64_t, std::vector<Candidate>> candidates;
    for (int64_t i = e * predicted; i < (e + 1) * predicted; ++i) {
      const float id = outputs.classes.array.values[static_cast<size_t>(i)];
      const float score = outputs.scores.array.values[static_cast<size_t>(i)];
      if (id < 0) continue;
      const Box box = BoxAt(outputs.boxes.array.values, i);
      if (!(id <= kMaxClassId) || id != std::trunc(id) || !std::isfinite(score) ||
          !box.IsFinite()) {
        ++non_finite_;
        continue;
      }
      candidates[static_cast<int64_t>(id)].push_back({score, box});
    }
    std::map<int64_t, std::vector<Box>> truth;
    for (int64_t i = e * truths; i < (e + 1) * truths; ++i) {
      const int64_t id = labels.ids->values[static_cast<size_t>(i)];
      if (id >= 0) truth[id].push_back(BoxAt(labels.values->values, i));
    }
    for (auto& [id, list] : candidates) {
      std::stable_sort(list.begin(), list.end(),
                       [](const Candidate& a, const Candidate& b) { return a.score > b.score; });
      if (list.size() > kMaxAnImageAndClass) list.resize(kMaxAnImageAndClass);
      const std::vector<uint32_t> found = Match(list, truth[id]);
      std::vector<Detected>& detected = classes_[id].detected;
      for (size_t i = 0; i < list.size(); ++i) {
        detected.push_back({list[i].score, image, found[i]});
      }
      boxes_ += static_cast<int64_t>(list.size());
    }
    for (const auto& [id, list] : truth) {
      if (list.empty()) continue;
      classes_[id].truth.push_back({image, static_cast<uint32_t>(list.size())});
      true_boxes_ += static_cast<int64_t>(list.size());
    }
    if (boxes_ + true_boxes_ + images_ > limits::kMaxDetections) {
      return absl::ResourceExhaustedError(absl::StrCat(
          "after ", images_, " examples there are ", boxes_, " predicted and ", true_boxes_,
          " true boxes; mAP needs them all, and at most ", limits::kMaxDetections,
          " are kept. Evaluate fewer examples, or let the model put out fewer boxes"));
    }
  }
  return absl::OkStatus();
}

std::vector<std::string> Detection::Warnings() const {
  std::vector<std::string> warnings;
  if (non_finite_ > 0) {
    warnings.push_back(absl::StrCat(non_finite_,
                                    " predicted boxes have NaN, infinities or a class that is no "
                                    "whole number: they are left out"));
  }
  if (images_ > 0 && true_boxes_ == 0) {
    warnings.push_back("there are no true boxes: there is no mAP");
  }
  return warnings;
}

nlohmann::json Detection::Result() const {
  std::map<int64_t, ClassDetections> ranked = classes_;
  RankDetections(&ranked);
  const MeanAveragePrecision mean = MeanPrecision(ranked, {});
  nlohmann::json out = {{"examples", images_},
                        {"boxes", boxes_},
                        {"true_boxes", true_boxes_},
                        {"non_finite", non_finite_},
                        {"map_50", JsonNumber(mean.at_50)},
                        {"map_50_95", JsonNumber(mean.at_50_95)}};
  if (static_cast<int64_t>(mean.by_class.size()) > limits::kMaxListedClasses) return out;
  out["per_class"] = nlohmann::json::array();
  for (const auto& [id, by_overlap] : mean.by_class) {
    double sum = 0;
    for (const double ap : by_overlap) sum += ap;
    out["per_class"].push_back(
        {{"class", id}, {"ap_50", by_overlap[0]}, {"ap_50_95", sum / kOverlaps}});
  }
  return out;
}

BootstrapResult BootstrapDetection(const Detection& before, const Detection& after,
                                   int64_t resamples, uint64_t seed) {
  const int64_t images = before.images_;
  const int64_t steps =
      kOverlaps * (before.boxes_ + after.boxes_) + before.true_boxes_ + after.true_boxes_ + images;
  resamples = std::min(resamples, kBootstrapSteps / std::max<int64_t>(1, steps));
  if (resamples < kMinResamples || images == 0 || images != after.images_) {
    return SummarizeResamples({});
  }
  std::map<int64_t, ClassDetections> ranked_before = before.classes_;
  std::map<int64_t, ClassDetections> ranked_after = after.classes_;
  RankDetections(&ranked_before);
  RankDetections(&ranked_after);
  std::vector<double> changes;
  std::vector<double> weights(static_cast<size_t>(images));
  for (int64_t r = 0; r < resamples; ++r) {
    std::fill(weights.begin(), weights.end(), 0.0);
    for (int64_t i = 0; i < images; ++i) {
      weights[static_cast<size_t>(DrawUnit(seed, r, i, images))] += 1;
    }
    changes.push_back(MeanPrecision(ranked_after, weights).at_50_95 -
                      MeanPrecision(ranked_before, weights).at_50_95);
  }
  return SummarizeResamples(std::move(changes));
}

}  // namespace lathe::engine
