#include "worker/engine/evaluation_data.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/recipe/catalogue.h"
#include "common/status_macros.h"
#include "common/status_reason.h"
#include "worker/engine/evaluation_task.h"

namespace lathe::engine {
namespace {

absl::Status DataError(const absl::Status& status) {
  if (status.code() != absl::StatusCode::kInvalidArgument || !ReasonOf(status).empty()) {
    return status;
  }
  return WithReason(status, "INVALID_DATASET");
}

// A batch's tensors, into which its values and spans point.
struct HeldBatch {
  Batch batch;
  Value labels;
  Value box_classes;
  Value weights;
};

LabelBatch LabelsOf(HeldBatch& held) {
  LabelBatch labels;
  held.labels = Value::FromTensor(*held.batch.labels);
  if (held.batch.box_classes) {
    labels.key = kBoxesKey;
    held.box_classes = Value::FromTensor(*held.batch.box_classes);
    labels.ids = IntArray{held.box_classes.dims, held.box_classes.As<int64_t>()};
  }
  if (held.labels.dtype == DType::kInt64) {
    labels.ids = IntArray{held.labels.dims, held.labels.As<int64_t>()};
  } else {
    labels.values = FloatArray{held.labels.dims, held.labels.As<float>()};
  }
  if (held.batch.weights) {
    held.weights = Value::FromTensor(*held.batch.weights);
    labels.weights = held.weights.As<float>();
  }
  return labels;
}

// `fixed`: the batch that the model fixes; 0 for none.
ExampleBatch ToExamples(Batch source, int64_t fixed, bool labelled) {
  auto held = std::make_shared<HeldBatch>();
  held->batch = std::move(source);
  ExampleBatch batch;
  batch.held = held;
  batch.examples = held->batch.size;
  batch.rows = std::max(fixed, batch.examples);
  for (const auto& [name, tensor] : held->batch.inputs) {
    batch.inputs[name] = Value::FromTensor(tensor);
  }
  if (labelled && held->batch.labels) batch.labels = LabelsOf(*held);
  return batch;
}

}  // namespace

absl::StatusOr<std::unique_ptr<EvaluationData>> EvaluationData::Open(
    const std::vector<InputDataset>& datasets, const Recipe& recipe, const Model& model) {
  std::unique_ptr<EvaluationData> data;
  std::vector<DataFile> files;
  for (const InputDataset& dataset : datasets) {
    if (dataset.path.empty()) continue;
    files.push_back({dataset.role, dataset.name, dataset.sha256, dataset.path});
  }
  const Step section = SectionOf(recipe, "evaluate");
  DataNeeds needs;
  needs.test = GetString(section, "task") != "none";
  needs.train = std::any_of(recipe.steps.begin(), recipe.steps.end(), TrainsOnData);
  needs.calibration = std::any_of(recipe.steps.begin(), recipe.steps.end(), [](const Step& step) {
    return CalibrationUse(step) != DataUse::kNone;
  });
  if (files.empty() || !(needs.test || needs.calibration || needs.train)) return data;
  data.reset(new EvaluationData);
  absl::StatusOr<DataPlan> plan = OpenData(files, recipe, model, needs);
  if (!plan.ok()) return DataError(plan.status());
  data->plan_ = *std::move(plan);
  data->warnings_ = data->plan_.warnings;
  if (data->plan_.calibration) {
    data->calibration_.emplace(&*data->plan_.calibration, GetInt(section, "batch_size"));
  }
  if (!needs.test) return data;
  if (!data->plan_.test) {
    // A step that calibrates or trains may be all that the data are for.
    if (data->calibration_ || data->plan_.train) {
      data->warnings_.push_back(
          "none of the datasets serves as test data (--data test=FILE): the models were not "
          "measured on any");
      return data;
    }
    return DataError(absl::InvalidArgumentError(
        "none of the datasets serves as test data: give one with --data test=FILE"));
  }
  data->test_ = &*data->plan_.test;
  RETURN_IF_ERROR(data->ChooseTask(recipe));
  return data;
}

absl::Status EvaluationData::ChooseTask(const Recipe& recipe) {
  const Step section = SectionOf(recipe, "evaluate");
  batch_size_ = GetInt(section, "batch_size");
  metrics_.split = test_->role();
  metrics_.seed = recipe.seed;
  metrics_.task_options = TaskOptionsOf(section);
  absl::StatusOr<std::optional<Task>> task = TaskOf(section, test_->labels().kind, &warnings_);
  if (!task.ok()) return DataError(task.status());
  metrics_.task = *task;
  return absl::OkStatus();
}

absl::StatusOr<NextBatch> EvaluationData::Batches() const {
  BatchOptions options;
  options.batch_size = batch_size_;
  ASSIGN_OR_RETURN(BatchReader reader, test_->Batches(options));
  auto shared = std::make_shared<BatchReader>(std::move(reader));
  const int64_t fixed = test_->fixed_batch().value_or(0);
  const bool labelled = metrics_.task.has_value();
  return NextBatch([shared, fixed, labelled]() -> absl::StatusOr<std::optional<ExampleBatch>> {
    if (shared->done()) return std::optional<ExampleBatch>();
    absl::StatusOr<Batch> next = shared->Next();
    if (!next.ok()) return DataError(next.status());
    return std::optional<ExampleBatch>(ToExamples(*std::move(next), fixed, labelled));
  });
}

absl::StatusOr<NextBatch> EvaluationData::HeldBackBatches(int64_t max_examples) const {
  ASSIGN_OR_RETURN(const CalibrationData::Next next,
                   calibration_->Read(CalibrationData::Part::kHeldBack, max_examples));
  const int64_t fixed = calibration_->fixed_batch().value_or(0);
  return NextBatch([next, fixed]() -> absl::StatusOr<std::optional<ExampleBatch>> {
    ASSIGN_OR_RETURN(const std::optional<CalibrationBatch> batch, next());
    if (!batch) return std::optional<ExampleBatch>();
    return std::optional<ExampleBatch>(ToExamples(*batch->batch, fixed, /*labelled=*/true));
  });
}

absl::Status EvaluateInto(const EvaluationData& data, const EvaluatedModels& models,
                          const Hooks& hooks, ReportInput* report) {
  const double start = hooks.seconds ? hooks.seconds() : 0;
  EvaluationRequest request;
  request.model = models.model;
  request.compared = models.compared;
  request.compressed = models.compressed;
  request.parallel = models.parallel;
  ASSIGN_OR_RETURN(request.test, data.Batches());
  request.metrics = data.metrics();
  const Step section = SectionOf(report->recipe, "evaluate");
  request.measure_latency = GetBool(section, "latency");
  request.diagnose = GetBool(section, "diagnosis");
  request.cancelled = hooks.cancelled;
  request.seconds = hooks.seconds;
  request.processor = models.processor;
  request.runtime = hooks.runtime;
  request.before_file = models.before_file;
  request.after_file = models.after_file;
  request.progress = [&data, &models](int64_t examples) {
    const double share = static_cast<double>(examples) / static_cast<double>(data.examples());
    models.progress(std::min(share, 1.0),
                    absl::StrCat(examples, " of ", data.examples(), " examples"));
  };
  models.progress(0, "");
  ASSIGN_OR_RETURN(report->evaluation, RunEvaluation(request));
  const EvaluationOutcome& outcome = *report->evaluation;
  report->before.peak_activation_bytes = outcome.peak_activation_bytes_before;
  report->after.peak_activation_bytes = outcome.peak_activation_bytes_after;
  for (const std::vector<std::string>& lines : {data.warnings(), outcome.warnings}) {
    report->warnings.insert(report->warnings.end(), lines.begin(), lines.end());
  }
  report->timings["evaluate"] = (hooks.seconds ? hooks.seconds() : 0) - start;
  return absl::OkStatus();
}

bool EachStepMeasured(const Recipe& recipe) {
  const size_t steps = recipe.steps.size();
  const Step section = SectionOf(recipe, "evaluate");
  if (IsGiven(section, "each_step")) return steps >= 2 && GetBool(section, "each_step");
  return steps == 2 || steps == 3;
}

absl::StatusOr<QualityFigure> EvaluateStep(const EvaluationData& data, Model* original,
                                           Model* current, const Hooks& hooks) {
  const std::optional<Task>& task = data.metrics().task;
  // The embedding task compares two models.
  const bool alone = task && *task != Task::kEmbedding;
  EvaluationRequest request;
  request.model = alone ? current : original;
  request.compared = alone ? nullptr : current;
  request.metrics = data.metrics();
  if (!alone) request.metrics.task.reset();
  request.measure_latency = false;
  request.diagnose = false;
  request.cancelled = hooks.cancelled;
  ASSIGN_OR_RETURN(request.test, data.Batches());
  ASSIGN_OR_RETURN(const EvaluationOutcome outcome, RunEvaluation(request));
  return QualityOf(outcome.evaluation, alone ? "before" : "after");
}

std::map<std::string, double> ConstraintsOf(const Recipe& recipe) {
  std::map<std::string, double> limits;
  const auto section = recipe.sections.find("constraints");
  if (section == recipe.sections.end()) return limits;
  for (const auto& [name, value] : section->second.params) {
    if (const auto* number = std::get_if<double>(&value)) limits[name] = *number;
    if (const auto* whole = std::get_if<int64_t>(&value)) {
      limits[name] = static_cast<double>(*whole);
    }
  }
  return limits;
}

}  // namespace lathe::engine
