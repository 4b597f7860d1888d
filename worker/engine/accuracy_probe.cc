#include "worker/engine/accuracy_probe.h"

#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/recipe/catalogue.h"
#include "common/status_macros.h"
#include "common/status_reason.h"
#include "worker/engine/evaluate/evaluation.h"
#include "worker/engine/evaluate/trace.h"
#include "worker/engine/evaluation_task.h"
#include "worker/engine/graph/clone.h"

namespace lathe::engine {
namespace {

absl::Status Refused(const std::string& why) {
  return WithReason(
      absl::InvalidArgumentError(absl::StrCat("max_accuracy_drop ", why,
                                              "; give labelled examples with --data "
                                              "calibration=FILE, or min_sqnr_db instead")),
      "INVALID_DATASET");
}

// Tasks whose leading figure is a share, and better the larger.
bool HasAccuracy(Task task) {
  return task == Task::kClassification || task == Task::kSequence || task == Task::kDetection;
}

}  // namespace

absl::StatusOr<AccuracyProbe> AccuracyProbe::Make(const EvaluationData* data, const Recipe& recipe,
                                                  Parallel* parallel,
                                                  std::function<bool()> cancelled) {
  if (data == nullptr || data->calibration() == nullptr) {
    return Refused("needs calibration data, and there are none");
  }
  const CalibrationData& calibration = *data->calibration();
  if (calibration.labels().kind == LabelKind::kNone) {
    return Refused(absl::StrCat("needs labels, and ", calibration.files(), " holds none"));
  }
  AccuracyProbe probe;
  probe.data_ = data;
  probe.parallel_ = parallel;
  probe.cancelled_ = std::move(cancelled);
  const Step section = SectionOf(recipe, "evaluate");
  probe.metrics_.split = "calibration";
  probe.metrics_.seed = recipe.seed;
  probe.metrics_.task_options = TaskOptionsOf(section);
  std::vector<std::string> warnings;  // they are told of the test data
  const absl::StatusOr<std::optional<Task>> task =
      TaskOf(section, calibration.labels().kind, &warnings);
  if (!task.ok()) return Refused(absl::StrCat("cannot be judged: ", task.status().message()));
  if (!*task || !HasAccuracy(**task)) {
    return Refused(
        absl::StrCat("needs a task with an accuracy (classification, sequence or "
                     "detection), and that of these labels is ",
                     *task ? TaskName(**task) : "fidelity of outputs"));
  }
  probe.metrics_.task = *task;
  return probe;
}

absl::StatusOr<Accuracy> AccuracyProbe::Of(const Model& candidate) const {
  Model model = CloneModel(candidate);
  EvaluationRequest request;
  request.model = &model;
  request.metrics = metrics_;
  request.parallel = parallel_;
  request.measure_latency = false;
  request.diagnose = false;
  request.cancelled = cancelled_;
  Accuracy accuracy;
  request.progress = [&accuracy](int64_t examples) { accuracy.examples = examples; };
  ASSIGN_OR_RETURN(request.test, data_->HeldBackBatches(kMostExamples));
  ASSIGN_OR_RETURN(const EvaluationOutcome outcome, RunEvaluation(request));
  const QualityFigure figure = QualityOf(outcome.evaluation, "before");
  if (!figure.value) {
    return absl::UnimplementedError(
        absl::StrCat("no ", figure.name.empty() ? "accuracy" : figure.name,
                     " came out for a candidate on the calibration examples"));
  }
  accuracy.figure = figure.name;
  accuracy.value = *figure.value;
  return accuracy;
}

}  // namespace lathe::engine
