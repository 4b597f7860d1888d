// How size and quality change from step to step of a recipe.
#ifndef LATHE_WORKER_ENGINE_EVALUATE_TRACE_H_
#define LATHE_WORKER_ENGINE_EVALUATE_TRACE_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace lathe::engine {

// The figure that a model is judged by.
struct QualityFigure {
  std::string name;             // a key of docs/evaluation.md: "accuracy"; "" when there is none
  std::optional<double> value;  // absent: it could not be measured, or is without bounds
};

// Of an `evaluation` block: the leading figure of its task on one side, "before" or "after";
// without a task the SQNR of the output that has lost most, which has no value where nothing was
// lost.
QualityFigure QualityOf(const nlohmann::json& evaluation, const char* side);

// The model as it was after one step.
struct TracePoint {
  int64_t file_bytes = 0;  // that its files would have
  QualityFigure quality;
  bool unchanged = false;  // the step did nothing: the figures are those of the point before
};

// Adds `trace`: the original, `points` (one a step, the last left out), and the result, whose
// figures the report has already. Nothing when there are no points.
void AddTrace(const std::vector<TracePoint>& points, nlohmann::json* report);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_EVALUATE_TRACE_H_
