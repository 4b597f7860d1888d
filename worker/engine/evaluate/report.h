// The report of a job: what was done, and what it cost. docs/report.md describes the JSON.
#ifndef LATHE_WORKER_ENGINE_EVALUATE_REPORT_H_
#define LATHE_WORKER_ENGINE_EVALUATE_REPORT_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "common/recipe/recipe.h"
#include "worker/engine/engine.h"
#include "worker/engine/evaluate/cost.h"
#include "worker/engine/evaluate/model_size.h"
#include "worker/engine/methods/method.h"

namespace lathe::engine {

// One side of the comparison.
struct ModelFigures {
  FileBytes files;
  ConstantCounts constants;
  Cost cost;
  int64_t opset = 0;
};

struct StepRecord {
  Step step;
  StepOutcome outcome;
  double seconds = 0;
};

struct ReportInput {
  Recipe recipe;
  std::vector<InputFile> files;
  std::vector<InputDataset> datasets;
  std::map<std::string, int64_t> bindings;
  ModelFigures before;
  ModelFigures after;
  std::vector<StepRecord> steps;
  // Error of what was written against what was read, by layer: norm(W - W') / norm(W).
  std::map<std::string, double> layer_errors;
  std::vector<std::string> notes;
  std::vector<std::string> warnings;
  std::map<std::string, double> timings;  // seconds by phase
};

// Deterministic but for "timings" and the steps' seconds.
std::string ReportJson(const ReportInput& input);
std::string ReportText(const ReportInput& input);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_EVALUATE_REPORT_H_
