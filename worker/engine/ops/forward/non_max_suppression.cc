// NonMaxSuppression: for each batch and class, boxes by falling score (of equals the lower index
// first), each taken unless it overlaps one taken before by more than iou_threshold. Rows come out
// by batch, class, and order of taking, as ONNX Runtime gives them.
#include "worker/engine/ops/forward/non_max_suppression.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"

namespace lathe::engine {
namespace {

struct Box {
  float low[2];
  float high[2];
  float area;
};

Box ReadBox(const float* b, bool centered) {
  Box box;
  for (int i = 0; i < 2; ++i) {
    // Centered: x, y, width, height. Else two opposite corners y, x, y, x.
    const float half = b[2 + i] / 2;
    box.low[i] = centered ? b[i] - half : std::min(b[i], b[2 + i]);
    box.high[i] = centered ? b[i] + half : std::max(b[i], b[2 + i]);
  }
  box.area = (box.high[0] - box.low[0]) * (box.high[1] - box.low[1]);
  return box;
}

bool Overlap(const Box& a, const Box& b, float threshold) {
  float intersection = 1;
  for (int i = 0; i < 2; ++i) {
    const float side = std::min(a.high[i], b.high[i]) - std::max(a.low[i], b.low[i]);
    if (!(side > 0)) return false;
    intersection *= side;
  }
  if (!(a.area > 0) || !(b.area > 0)) return false;
  const float all = a.area + b.area - intersection;
  return all > 0 && intersection / all > threshold;
}

struct Candidate {
  float score;
  int64_t index;
};

}  // namespace

absl::Status RunNonMaxSuppression(RunContext& ctx) {
  const Value& boxes = ctx.In(0);
  const Value& scores = ctx.In(1);
  if (boxes.dtype != DType::kFloat || scores.dtype != DType::kFloat || boxes.dims.size() != 3 ||
      scores.dims.size() != 3 || boxes.dims[2] != 4 || scores.dims[0] != boxes.dims[0] ||
      scores.dims[2] != boxes.dims[1]) {
    return ctx.Error(
        "boxes must be float32 [batches, boxes, 4], scores float32 [batches, classes, boxes]");
  }
  const int64_t batches = boxes.dims[0];
  const int64_t count = boxes.dims[1];
  const int64_t classes = scores.dims[1];
  int64_t most = 0;
  if (ctx.Has(2)) {
    ASSIGN_OR_RETURN(const std::vector<int64_t> given, ctx.Ints(2));
    if (given.size() != 1) return ctx.Error("max_output_boxes_per_class must be one number");
    most = std::clamp<int64_t>(given[0], 0, count);
  }
  const auto iou_threshold = static_cast<float>(ctx.Scalar(3, 0));
  if (!(iou_threshold >= 0 && iou_threshold <= 1)) {
    return ctx.Error(absl::StrCat("iou_threshold must lie in [0, 1], not be ", iou_threshold));
  }
  const bool filters = ctx.Has(4);
  const auto score_threshold = static_cast<float>(ctx.Scalar(4, 0));
  const bool centered = ctx.node().IntAttribute("center_point_box", 0) != 0;

  std::vector<int64_t> rows;
  std::vector<Candidate> candidates;
  std::vector<Box> taken;
  for (int64_t batch = 0; batch < batches; ++batch) {
    const float* corners = boxes.As<float>().data() + batch * count * 4;
    for (int64_t c = 0; c < classes && most > 0; ++c) {
      const float* score = scores.As<float>().data() + (batch * classes + c) * count;
      candidates.clear();
      RETURN_IF_ERROR(ctx.Spend(count));
      for (int64_t i = 0; i < count; ++i) {
        // A score of NaN has no place in the order.
        if (std::isnan(score[i]) || (filters && !(score[i] > score_threshold))) continue;
        candidates.push_back({score[i], i});
      }
      std::sort(candidates.begin(), candidates.end(), [](const Candidate& a, const Candidate& b) {
        return a.score != b.score ? a.score > b.score : a.index < b.index;
      });
      taken.clear();
      for (const Candidate& candidate : candidates) {
        if (static_cast<int64_t>(taken.size()) == most) break;
        RETURN_IF_ERROR(ctx.Spend(static_cast<int64_t>(taken.size()) + 1));
        const Box box = ReadBox(corners + candidate.index * 4, centered);
        const bool hidden = std::any_of(taken.begin(), taken.end(), [&](const Box& other) {
          return Overlap(box, other, iou_threshold);
        });
        if (hidden) continue;
        taken.push_back(box);
        rows.insert(rows.end(), {batch, c, candidate.index});
      }
    }
  }
  ASSIGN_OR_RETURN(Value * out,
                   ctx.Out(0, DType::kInt64, {static_cast<int64_t>(rows.size()) / 3, 3}));
  std::copy(rows.begin(), rows.end(), out->Mutable<int64_t>().begin());
  return absl::OkStatus();
}

}  // namespace lathe::engine
