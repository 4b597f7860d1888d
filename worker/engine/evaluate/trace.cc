#include "worker/engine/evaluate/trace.h"

namespace lathe::engine {
namespace {

using nlohmann::json;

// Those that TaskMetric::leading names.
constexpr const char* kLeading[] = {"accuracy", "map_50_95", "sequence_accuracy", "perplexity",
                                    "mae"};

json Point(const json& step, const json& method, const json& file_bytes,
           const QualityFigure& quality) {
  return {{"step", step},
          {"method", method},
          {"file_bytes", file_bytes},
          {"figure", quality.name.empty() ? json(nullptr) : json(quality.name)},
          {"value", quality.value ? json(*quality.value) : json(nullptr)}};
}

}  // namespace

QualityFigure QualityOf(const json& evaluation, const char* side) {
  if (!evaluation.is_object()) return {};
  if (const auto figures = evaluation.find(side);
      figures != evaluation.end() && figures->is_object()) {
    for (const char* key : kLeading) {
      const auto figure = figures->find(key);
      if (figure == figures->end()) continue;
      if (!figure->is_number()) return {key, std::nullopt};
      return {key, figure->get<double>()};
    }
  }
  const auto outputs = evaluation.find("fidelity");
  if (outputs == evaluation.end() || !outputs->is_object()) return {};
  QualityFigure worst{"sqnr_db", std::nullopt};
  if (side == std::string("before")) return worst;
  for (const json& output : *outputs) {
    const auto sqnr = output.find("sqnr_db");
    if (sqnr == output.end() || !sqnr->is_number()) continue;
    const double db = sqnr->get<double>();
    if (!worst.value || db < *worst.value) worst.value = db;
  }
  return worst;
}

void AddTrace(const std::vector<TracePoint>& points, json* report) {
  if (points.empty() || !report->contains("evaluation")) return;
  const json& evaluation = (*report)["evaluation"];
  const json& steps = (*report)["steps"];
  QualityFigure quality = QualityOf(evaluation, "before");
  json file_bytes = (*report)["before"]["file_bytes"];
  json trace = {Point(nullptr, nullptr, file_bytes, quality)};
  for (size_t i = 0; i < points.size() && i < steps.size(); ++i) {
    if (!points[i].unchanged) {
      quality = points[i].quality;
      file_bytes = points[i].file_bytes;
    }
    trace.push_back(Point(i, steps[i]["method"], file_bytes, quality));
  }
  trace.push_back(Point(points.size(), steps.back()["method"], (*report)["after"]["file_bytes"],
                        QualityOf(evaluation, "after")));
  (*report)["trace"] = std::move(trace);
}

}  // namespace lathe::engine
