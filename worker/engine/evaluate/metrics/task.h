// One way to measure a model, whatever its task: batches of outputs and labels in, figures out.
#ifndef LATHE_WORKER_ENGINE_EVALUATE_METRICS_TASK_H_
#define LATHE_WORKER_ENGINE_EVALUATE_METRICS_TASK_H_

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "worker/engine/evaluate/metrics/arrays.h"
#include "worker/engine/evaluate/metrics/classification.h"
#include "worker/engine/evaluate/metrics/detection.h"
#include "worker/engine/evaluate/metrics/detection_outputs.h"
#include "worker/engine/evaluate/metrics/example_score.h"
#include "worker/engine/evaluate/metrics/language_modeling.h"
#include "worker/engine/evaluate/metrics/sequence.h"

namespace lathe::engine {

enum class Task {
  kClassification,
  kRegression,
  kEmbedding,
  kDetection,
  kSequence,
  kLanguageModeling,
};

// "classification", "regression", "embedding", "detection", "sequence", "language_modeling".
const char* TaskName(Task task);
// INVALID_ARGUMENT names the tasks that there are.
absl::StatusOr<Task> TaskByName(absl::string_view name);

struct TaskOptions {
  std::string output;  // the output that is measured; empty: the model's first
  ClassificationOptions classification;
  SequenceOptions sequence;
  LanguageOptions language;
  DetectionOptions detection;  // `output` above is its output
};

// The figure that a task is compared by.
struct LeadingFigure {
  std::string key;                 // in Result()
  bool share = false;              // of examples: a change is told in percentage points
  double (*of)(double) = nullptr;  // of sum(numerator) / sum(denominator) of the ExampleScores
};

// Not thread-safe. Memory does not grow with the examples, except for detection (detection.h).
class TaskMetric {
 public:
  virtual ~TaskMetric() = default;

  // NOT_FOUND: no such output. INVALID_ARGUMENT, RESOURCE_EXHAUSTED: as the task's own header says;
  // the message names the output or key, what was expected and what was given.
  absl::Status Add(const OutputBatch& outputs, const LabelBatch& labels) {
    return AddScored(outputs, labels, nullptr);
  }
  // Also appends what each example adds to the leading figure, when `examples` is not null; nothing
  // for detection, whose figure is no sum.
  virtual absl::Status AddScored(const OutputBatch& outputs, const LabelBatch& labels,
                                 std::vector<ExampleScore>* examples) = 0;

  virtual LeadingFigure leading() const = 0;
  // How the scores are read, where that makes a difference.
  virtual ScoreKind kind() const { return ScoreKind::kLogits; }
  virtual std::vector<std::string> Warnings() const = 0;
  // Figures under the keys of docs/report.md: finite numbers, or null for what does not exist.
  nlohmann::json Result() const { return ResultAs(kind()); }
  virtual nlohmann::json ResultAs(ScoreKind kind) const = 0;
  // Not null for detection.
  virtual const Detection* detection() const { return nullptr; }
};

// INVALID_ARGUMENT: options out of range; the embedding task, which compares two models and has no
// figure of one (PairedEvaluation).
absl::StatusOr<std::unique_ptr<TaskMetric>> MakeTaskMetric(Task task, const TaskOptions& options);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_EVALUATE_METRICS_TASK_H_
