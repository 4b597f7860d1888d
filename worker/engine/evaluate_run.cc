#include "worker/engine/evaluate_run.h"

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/recipe/text.h"
#include "common/recipe/validate.h"
#include "common/status_macros.h"
#include "common/status_reason.h"
#include "worker/engine/engine_status.h"
#include "worker/engine/evaluate/weight_error.h"
#include "worker/engine/graph/reader.h"
#include "worker/engine/graph/verifier.h"

namespace lathe::engine {
namespace {

constexpr double kReadEnd = 0.1;

// Parameters of a model by itself: all constants of float types, and what stored weights stand for.
absl::Status CountParameters(Model& model, Parallel& parallel, ModelFigures* figures) {
  const OtherParameters others = CountOtherParameters(model);
  figures->parameters = others.parameters;
  figures->nonzero_parameters = others.nonzero;
  ASSIGN_OR_RETURN(const std::vector<LayerMeasure> measures,
                   MeasureWeights(model, model, parallel, nullptr));
  for (const LayerMeasure& measure : measures) {
    figures->parameters += measure.parameters_before;
    figures->nonzero_parameters += measure.nonzero_before;
  }
  return absl::OkStatus();
}

}  // namespace

EvaluateRun::EvaluateRun(const EvaluateRequest& request, const Hooks& hooks)
    : request_(request),
      hooks_(hooks),
      parallel_(request.threads > 1 ? MakeThreadPool(request.threads) : MakeSerial()) {}

void EvaluateRun::Tell(const char* stage, double fraction, const std::string& message) const {
  if (hooks_.progress) hooks_.progress({0, 0, stage, fraction, message});
}

absl::StatusOr<Model> EvaluateRun::Read(const std::string& folder, const std::string& main_file,
                                        ModelFigures* figures) {
  absl::StatusOr<Model> read = ReadModel(folder, main_file);
  if (!read.ok()) return ModelError(read.status());
  Model model = *std::move(read);
  RETURN_IF_ERROR(ModelError(VerifyModel(model)));
  figures->inference = InferShapes(model, request_.bindings);
  figures->inference.values.clear();
  figures->inference.node_costs.clear();
  figures->opset = model.OpsetVersion("");
  figures->ir_version = model.ir_version;
  figures->weight_bytes = ConstantBytes(model);
  ASSIGN_OR_RETURN(figures->files, MeasureFiles(folder, model.source_files, *parallel_));
  RETURN_IF_ERROR(CountParameters(model, *parallel_, figures));
  return model;
}

absl::Status EvaluateRun::Run(CompressResult* result) {
  const double start = Now();
  absl::StatusOr<Recipe> recipe = ParseRecipe(request_.recipe_json);
  if (!recipe.ok()) return WithDefaultReason(recipe.status(), "INVALID_RECIPE");
  report_.recipe = *std::move(recipe);
  RETURN_IF_ERROR(WithDefaultReason(
      ViolationsToStatus(ValidateRecipe(report_.recipe, RecipeUse::kEvaluate)), "INVALID_RECIPE"));
  report_.constraints = ConstraintsOf(report_.recipe);
  report_.files = request_.input_files;
  report_.datasets = request_.datasets;
  report_.bindings = request_.bindings;
  report_.kind = ReportKind::kEvaluation;
  Tell("read", 0, request_.main_file);
  ASSIGN_OR_RETURN(model_, Read(request_.input_folder, request_.main_file, &report_.before));
  const bool two = !request_.compared_folder.empty();
  if (two) {
    Tell("read", kReadEnd / 2, request_.compared_main_file);
    ASSIGN_OR_RETURN(compared_,
                     Read(request_.compared_folder, request_.compared_main_file, &report_.after));
    report_.kind = ReportKind::kComparison;
  }
  report_.timings["read"] = Now() - start;
  ASSIGN_OR_RETURN(data_, EvaluationData::Open(request_.datasets, report_.recipe, model_));
  if (data_ == nullptr) {
    return WithReason(absl::InvalidArgumentError("an evaluation needs test data (--data FILE)"),
                      "INVALID_DATASET");
  }
  RETURN_IF_ERROR(RunModels());
  report_.timings["total"] = Now() - start;
  Report report = MakeReport(report_);
  result->report_json = std::move(report.json);
  result->rejected = std::move(report.rejected);
  result->report_text = ReportText(result->report_json);
  Tell("report", 1, "done");
  return absl::OkStatus();
}

absl::Status EvaluateRun::RunModels() {
  EvaluatedModels models;
  models.model = &model_;
  models.compared = report_.kind == ReportKind::kComparison ? &compared_ : nullptr;
  models.parallel = parallel_.get();
  models.processor = request_.processor;
  models.before_file = {absl::StrCat(request_.input_folder, "/", request_.main_file),
                        report_.before.files.file_bytes};
  if (models.compared != nullptr) {
    models.after_file = {absl::StrCat(request_.compared_folder, "/", request_.compared_main_file),
                         report_.after.files.file_bytes};
  }
  models.progress = [this](double share, const std::string& message) {
    Tell("evaluate", kReadEnd + (1 - kReadEnd) * share, message);
  };
  return EvaluateInto(*data_, models, hooks_, &report_);
}

}  // namespace lathe::engine
