// A job's datasets as what an evaluation wants (internal to engine.h).
#ifndef LATHE_WORKER_ENGINE_EVALUATION_DATA_H_
#define LATHE_WORKER_ENGINE_EVALUATION_DATA_H_

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/recipe/recipe.h"
#include "worker/engine/data/calibration_data.h"
#include "worker/engine/data/data_plan.h"
#include "worker/engine/engine.h"
#include "worker/engine/evaluate/evaluation.h"
#include "worker/engine/evaluate/report.h"

namespace lathe::engine {

class EvaluationData {
 public:
  // Opens the datasets that have a path; nullptr when there are none, or nothing uses them: the
  // recipe says `evaluate: {task: none}` and has no step that calibrates or trains.
  // INVALID_ARGUMENT with reason INVALID_DATASET.
  static absl::StatusOr<std::unique_ptr<EvaluationData>> Open(
      const std::vector<InputDataset>& datasets, const Recipe& recipe, const Model& model);

  // Whether there is a test split: Batches, metrics and examples are for it.
  bool has_test() const { return test_ != nullptr; }
  // For steps that learn from data; nullptr when no step of the recipe does.
  const CalibrationData* calibration() const { return calibration_ ? &*calibration_ : nullptr; }

  // For steps that train; nullptr when no step of the recipe does, or no examples serve it.
  const DataSplit* train() const { return plan_.train ? &*plan_.train : nullptr; }

  // Reads the test split from its start; borrows this.
  absl::StatusOr<NextBatch> Batches() const;
  // Likewise the calibration examples that are held back, `max_examples` at most, with their
  // labels. There must be calibration data.
  absl::StatusOr<NextBatch> HeldBackBatches(int64_t max_examples) const;
  // The task that the recipe names, or that the labels speak for.
  const PairedOptions& metrics() const { return metrics_; }
  int64_t examples() const { return test_->size(); }
  const std::vector<std::string>& warnings() const { return warnings_; }

 private:
  EvaluationData() = default;
  absl::Status ChooseTask(const Recipe& recipe);

  DataPlan plan_;
  const DataSplit* test_ = nullptr;
  std::optional<CalibrationData> calibration_;
  int64_t batch_size_ = 0;
  PairedOptions metrics_;
  std::vector<std::string> warnings_;
};

// What is run on the data, beside what the recipe and the data say themselves.
struct EvaluatedModels {
  Model* model = nullptr;
  const Model* compared = nullptr;  // null: one model alone
  bool compressed = false;          // `compared` came from `model` by methods
  Parallel* parallel = nullptr;     // nullptr: the calling thread
  std::string processor;            // for the report
  RuntimeModel before_file;         // their files, for Hooks::runtime
  RuntimeModel after_file;
  // Called with a number in [0, 1] and a line for people.
  std::function<void(double, const std::string&)> progress;
};

// Runs the models on the data and puts what comes out into the report: evaluation, peak activation
// memory, warnings, seconds. Errors as RunEvaluation.
absl::Status EvaluateInto(const EvaluationData& data, const EvaluatedModels& models,
                          const Hooks& hooks, ReportInput* report);

// Whether a recipe's model is measured after each step too: as `evaluate.each_step` says, and where
// it says nothing, for recipes of two or three steps.
bool EachStepMeasured(const Recipe& recipe);

// The figure that `current`, which came from `original` by some steps, is judged by: on the same
// examples as the result will be. With a task `current` alone is run, otherwise both. Without a
// name where the model cannot be run. Errors as RunEvaluation.
absl::StatusOr<QualityFigure> EvaluateStep(const EvaluationData& data, Model* original,
                                           Model* current, const Hooks& hooks);

// The recipe's `constraints`, by name.
std::map<std::string, double> ConstraintsOf(const Recipe& recipe);

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_EVALUATION_DATA_H_
