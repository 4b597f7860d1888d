// One run of the engine, from a recipe and a folder to a folder and a report (internal to
// engine.h).
#ifndef LATHE_WORKER_ENGINE_COMPRESS_RUN_H_
#define LATHE_WORKER_ENGINE_COMPRESS_RUN_H_

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "worker/engine/engine.h"
#include "worker/engine/evaluate/report.h"
#include "worker/engine/evaluation_data.h"
#include "worker/engine/graph/model.h"
#include "worker/engine/tensor/parallel.h"
#include "worker/engine/training_setup.h"

namespace lathe::engine {

class CompressRun {
 public:
  CompressRun(const CompressRequest& request, const Hooks& hooks);
  absl::Status Run(CompressResult* result);

 private:
  double Now() const { return hooks_.seconds ? hooks_.seconds() : 0; }
  int steps() const { return static_cast<int>(report_.recipe.steps.size()); }
  absl::Status CheckCancelled() const;
  // Gives back the memory of constants that lie in files: called between layers,
  // so that the run holds a layer or two, and not all that it has ever looked at.
  void DropPages() const;
  // `fraction` of the whole run.
  void Tell(int step, const std::string& stage, double fraction, const std::string& message);
  void Log(const std::string& line) const;

  absl::Status ReadRecipe();
  absl::Status ReadInput();
  absl::Status ApplySteps();
  absl::Status ApplyStep(int index, double from, double to);
  // Measures the model after a step that is not the last, where the recipe wants that.
  absl::Status TraceStep(int index, double fraction, bool changed);
  // Of the main file.
  std::string OutputName() const;
  // Where each weight of the model comes from, for the step about to run.
  std::map<std::string, std::string> Origins();
  absl::Status WriteOutput(CompressResult* result);
  absl::Status CopyInput(const std::string& main, CompressResult* result);
  // Reads the result back: figures and errors are those of the files, not of our memory.
  absl::Status CheckOutput(const CompressResult& result);
  absl::Status MeasureOutput(const CompressResult& result);
  // Runs both models on the test data, when there are some.
  absl::Status EvaluateOutput();

  const CompressRequest& request_;
  const Hooks& hooks_;
  std::unique_ptr<Parallel> parallel_;
  Model original_;  // as read, functions inlined; shares its constants with `model_`
  Model model_;
  Model written_;
  std::string written_file_;                 // its main file, relative to the output folder
  std::vector<Bytes> file_constants_;        // large ones, in mapped files
  std::unique_ptr<EvaluationData> data_;     // null: none were given, or none are wanted
  std::unique_ptr<TrainingSetup> training_;  // null: no step trains
  ReportInput report_;
  std::map<std::string, std::string> parts_;  // weight made by a step -> weight it is a part of
  bool changed_ = false;
  double told_ = 0;
};

}  // namespace lathe::engine

#endif  // LATHE_WORKER_ENGINE_COMPRESS_RUN_H_
