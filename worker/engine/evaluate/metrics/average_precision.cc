#include "worker/engine/evaluate/metrics/average_precision.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace lathe::engine {
namespace {

constexpr int kRecalls = 101;

// start, start + step, ..., end in float64 just as numpy.linspace has them, which COCOeval uses: a
// recall of exactly 0.29 must be on the same side of its threshold.
template <size_t kCount>
std::array<double, kCount> Linspace(double start, double end) {
  std::array<double, kCount> values;
  const double step = (end - start) / static_cast<double>(kCount - 1);
  for (size_t i = 0; i < kCount; ++i) values[i] = start + static_cast<double>(i) * step;
  values[kCount - 1] = end;
  return values;
}

double WeightOf(std::span<const double> weights, uint32_t image) {
  return weights.empty() ? 1 : weights[image];
}

double AveragePrecision(const std::vector<Detected>& ranked, int overlap, double truth,
                        std::span<const double> weights, std::vector<double>* precision,
                        std::vector<double>* recall) {
  static const std::array<double, kRecalls> recalls = Linspace<kRecalls>(0, 1);
  double found = 0;
  double missed = 0;
  for (size_t i = 0; i < ranked.size(); ++i) {
    const double weight = WeightOf(weights, ranked[i].image);
    ((ranked[i].found >> overlap & 1) != 0 ? found : missed) += weight;
    (*precision)[i] = found / (found + missed + std::numeric_limits<double>::epsilon());
    (*recall)[i] = found / truth;
  }
  for (size_t i = ranked.size(); i > 1; --i) {
    (*precision)[i - 2] = std::max((*precision)[i - 2], (*precision)[i - 1]);
  }
  double sum = 0;
  size_t at = 0;
  for (const double wanted : recalls) {
    while (at < ranked.size() && (*recall)[at] < wanted) ++at;
    if (at == ranked.size()) break;
    sum += (*precision)[at];
  }
  return sum / kRecalls;
}

}  // namespace

const std::array<double, kOverlaps>& Overlaps() {
  static const std::array<double, kOverlaps> overlaps = Linspace<kOverlaps>(0.5, 0.95);
  return overlaps;
}

void RankDetections(std::map<int64_t, ClassDetections>* classes) {
  for (auto& [id, detections] : *classes) {
    std::stable_sort(detections.detected.begin(), detections.detected.end(),
                     [](const Detected& a, const Detected& b) { return a.score > b.score; });
  }
}

MeanAveragePrecision MeanPrecision(const std::map<int64_t, ClassDetections>& ranked,
                                   std::span<const double> image_weights) {
  MeanAveragePrecision mean;
  std::vector<double> precision;
  std::vector<double> recall;
  for (const auto& [id, detections] : ranked) {
    double truth = 0;
    for (const ImageTruth& image : detections.truth) {
      truth += WeightOf(image_weights, image.image) * image.boxes;
    }
    if (truth == 0) continue;
    precision.resize(detections.detected.size());
    recall.resize(detections.detected.size());
    std::array<double, kOverlaps>& by_overlap = mean.by_class[id];
    for (int t = 0; t < kOverlaps; ++t) {
      const double ap =
          AveragePrecision(detections.detected, t, truth, image_weights, &precision, &recall);
      by_overlap[static_cast<size_t>(t)] = ap;
      mean.at_50_95 += ap / kOverlaps;
    }
    mean.at_50 += by_overlap[0];
  }
  // No class at all: 0 / 0.
  mean.at_50 /= static_cast<double>(mean.by_class.size());
  mean.at_50_95 /= static_cast<double>(mean.by_class.size());
  return mean;
}

}  // namespace lathe::engine
