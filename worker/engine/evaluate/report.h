// The report of a job: what was done, and what it cost. docs/report.md describes the JSON.
#ifndef LATHE_WORKER_ENGINE_EVALUATE_REPORT_H_
#define LATHE_WORKER_ENGINE_EVALUATE_REPORT_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "common/recipe/recipe.h"
#include "worker/engine/engine.h"
#include "worker/engine/evaluate/energy.h"
#include "worker/engine/evaluate/evaluation.h"
#include "worker/engine/evaluate/file_size.h"
#include "worker/engine/evaluate/trace.h"
#include "worker/engine/evaluate/weight_error.h"
#include "worker/engine/methods/method.h"
#include "worker/engine/ops/shape_inference.h"

namespace lathe::engine {

// One side of the comparison.
struct ModelFigures {
  FileSizes files;
  int64_t parameters = 0;
  int64_t nonzero_parameters = 0;
  int64_t weight_bytes = 0;  // of all constants, as stored
  int64_t opset = 0;
  int64_t ir_version = 0;
  // Of `inference.values`, nothing is kept.
  Inference inference;
  int64_t peak_activation_bytes = -1;  // measured; -1: the model was not run
};

struct StepRecord {
  Step step;
  StepOutcome outcome;
  // Name of a weight the step saw -> the weight of the input model that it is, or is a part of.
  // Those of the same name are left out.
  std::map<std::string, std::string> origins;
  double seconds = 0;
};

enum class ReportKind {
  kCompression,
  kEvaluation,  // of one model: `before` alone
  kComparison,  // of two
};

struct ReportInput {
  ReportKind kind = ReportKind::kCompression;
  Recipe recipe;
  std::vector<InputFile> files;
  std::vector<InputDataset> datasets;
  Bindings bindings;
  ModelFigures before;
  ModelFigures after;
  std::vector<StepRecord> steps;
  std::vector<LayerMeasure> measures;
  // By the names of `measures`.
  std::map<std::string, OperatorCost> costs_before;
  std::map<std::string, OperatorCost> costs_after;
  std::vector<std::string> notes;
  std::vector<std::string> warnings;
  std::map<std::string, double> timings;  // seconds by phase
  bool calibrated = false;                // a step learned from the datasets
  std::optional<EvaluationOutcome> evaluation;
  std::vector<TracePoint> trace;              // one a step but for the last; or empty
  std::map<std::string, double> constraints;  // by name
};

struct Report {
  std::string json;
  // Which constraints are not met, and why; "" when all are.
  std::string rejected;
};

// Deterministic but for what stands under "timings" and "latency". Without NaN or infinity.
Report MakeReport(const ReportInput& input);
// Its JSON alone.
inline std::string ReportJson(const ReportInput& input) { return MakeReport(input).json; }

// The same for people, made from the JSON so that the two cannot disagree.
std::string ReportText(const std::string& report_json);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_EVALUATE_REPORT_H_
