#include "worker/engine/evaluate/evaluation.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/status_macros.h"
#include "common/status_reason.h"
#include "worker/engine/evaluate/bad_values.h"
#include "worker/engine/evaluate/latency.h"
#include "worker/engine/evaluate/output_arrays.h"
#include "worker/engine/evaluate/weight_error.h"
#include "worker/engine/ops/value_fact.h"
#include "worker/engine/run/batch_runner.h"

namespace lathe::engine {
namespace {

using nlohmann::json;

// Batches that the layers are looked at with: every one costs a run of each layer for itself.
constexpr int kDiagnosisBatches = 1;
// Weights that all lanes together may hold beside the models themselves: large models are run in
// fewer lanes than there are threads.
constexpr int64_t kLaneBytes = int64_t{64} << 20;

absl::Status DataError(const absl::Status& status) {
  // An output that the recipe names, or that its task wants, and the model has not.
  if (absl::IsNotFound(status) && ReasonOf(status).empty()) {
    return WithReason(absl::InvalidArgumentError(status.message()), "INVALID_RECIPE");
  }
  if (status.code() != absl::StatusCode::kInvalidArgument || !ReasonOf(status).empty()) {
    return status;
  }
  return WithReason(status, "INVALID_DATASET");
}

class EvaluationRun {
 public:
  explicit EvaluationRun(const EvaluationRequest& request) : request_(request) {
    if (request.parallel != nullptr) parallel_ = request.parallel;
  }

  absl::StatusOr<EvaluationOutcome> Run() {
    ExecutorOptions options;
    options.cancelled = request_.cancelled;
    std::vector<const Model*> models = {request_.model};
    if (two()) models.push_back(request_.compared);
    absl::StatusOr<std::unique_ptr<BatchRunner>> runner =
        BatchRunner::Make(models, options, *parallel_, Lanes(models));
    if (absl::IsUnimplemented(runner.status())) {
      RETURN_IF_ERROR(MeasureFirstBatchInRuntime());
      return NotEvaluated(runner.status());
    }
    RETURN_IF_ERROR(runner.status());
    runner_ = *std::move(runner);
    // One model without labels has no figures; it is run for what it takes, and for NaN.
    if (two() || request_.metrics.task) {
      absl::StatusOr<std::unique_ptr<PairedEvaluation>> metrics =
          PairedEvaluation::Make(request_.metrics);
      if (!metrics.ok()) return DataError(metrics.status());
      metrics_ = *std::move(metrics);
    }
    const absl::Status done = RunBatches();
    if (absl::IsUnimplemented(done)) return NotEvaluated(done);
    RETURN_IF_ERROR(DataError(done));
    outcome_.evaluation = metrics_ != nullptr ? metrics_->Result() : WithoutFigures();
    AddRuntime(&outcome_);
    return std::move(outcome_);
  }

 private:
  bool two() const { return request_.compared != nullptr; }

  // Each lane holds the models' packed weights.
  int Lanes(const std::vector<const Model*>& models) const {
    int64_t bytes = 1;
    for (const Model* model : models) bytes = SaturatingAdd(bytes, ConstantBytes(*model));
    return static_cast<int>(std::clamp<int64_t>(kLaneBytes / bytes, 1, parallel_->threads()));
  }

  json WithoutFigures() const {
    return {{"task", nullptr},       {"split", request_.metrics.split},
            {"examples", examples_}, {"labels", false},
            {"before", nullptr},     {"after", nullptr}};
  }

  EvaluationOutcome NotEvaluated(const absl::Status& why) {
    EvaluationOutcome outcome;
    outcome.evaluation = {{"not_evaluated", std::string(why.message())}};
    outcome.warnings.push_back(absl::StrCat("the models were not evaluated: ", why.message()));
    AddRuntime(&outcome);
    return outcome;
  }

  absl::Status RunBatches() {
    const NextBatch next = [this]() -> absl::StatusOr<std::optional<ExampleBatch>> {
      ASSIGN_OR_RETURN(std::optional<ExampleBatch> batch, request_.test());
      if (batch && !first_ && MeasuresRuntime()) first_ = *batch;
      return batch;
    };
    const absl::Status ran = runner_->Run<ExampleBatch>(
        next, [this](ExampleBatch& batch, const BatchRunner::Outputs& outputs) {
          return Consume(batch, outputs);
        });
    // What the executor cannot run, the other runtime may.
    if (absl::IsUnimplemented(ran) && batches_ == 0 && first_) {
      RETURN_IF_ERROR(MeasureInOtherRuntime(*first_));
    }
    RETURN_IF_ERROR(ran);
    outcome_.peak_activation_bytes_before = runner_->peak_activation_bytes(0);
    if (two()) outcome_.peak_activation_bytes_after = runner_->peak_activation_bytes(1);
    if (diagnosis_ != nullptr) outcome_.layers = diagnosis_->Result();
    if (examples_ > 0) return absl::OkStatus();
    return absl::InvalidArgumentError("there are no examples to evaluate the model on");
  }

  absl::Status Consume(const ExampleBatch& batch, const BatchRunner::Outputs& outputs) {
    RETURN_IF_ERROR(AddToMetrics(batch, outputs));
    if (batches_ == 0) {
      RETURN_IF_ERROR(MeasureTimes(batch));
      RETURN_IF_ERROR(MeasureInOtherRuntime(batch));
    }
    if (batches_ < kDiagnosisBatches) RETURN_IF_ERROR(Diagnose(batch, batches_));
    ++batches_;
    examples_ += batch.examples;
    if (request_.progress) request_.progress(examples_);
    return absl::OkStatus();
  }

  absl::Status AddToMetrics(const ExampleBatch& batch, const BatchRunner::Outputs& outputs) {
    NoteBad(*request_.model, outputs[0], batch, "the model");
    if (two()) NoteBad(*request_.compared, outputs[1], batch, "the compressed model");
    const OutputArrays before(runner_->executor(0).output_names(), outputs[0], batch.examples,
                              batch.rows);
    const LabelBatch* labels = batch.labels ? &*batch.labels : nullptr;
    if (metrics_ == nullptr) return absl::OkStatus();
    if (!two()) return metrics_->Add(before.batch(), labels == nullptr ? LabelBatch() : *labels);
    const OutputArrays after(runner_->executor(1).output_names(), outputs[1], batch.examples,
                             batch.rows);
    return metrics_->Add(before.batch(), after.batch(), labels);
  }

  // Tells, once for each model, where NaN or infinity comes from.
  void NoteBad(const Model& model, const std::vector<Value>& outputs, const ExampleBatch& batch,
               const char* which) {
    bool& told = &model == request_.model ? told_before_ : told_after_;
    const bool bad = std::any_of(outputs.begin(), outputs.end(),
                                 [](const Value& value) { return CountBad(value) > 0; });
    if (told || !bad) return;
    told = true;
    const absl::StatusOr<std::string> node = FirstBadNode(model, batch.inputs, request_.cancelled);
    std::string where;
    if (!node.ok()) {
      where =
          absl::StrCat("; which node it comes from could not be told: ", node.status().message());
    } else if (!node->empty()) {
      where = absl::StrCat(": first, ", *node);
    }
    outcome_.warnings.push_back(absl::StrCat(which, " puts out NaN or infinity", where));
  }

  absl::Status MeasureTimes(const ExampleBatch& batch) {
    if (!request_.measure_latency || !request_.seconds) return absl::OkStatus();
    const auto run = [&batch](Executor* executor) {
      return [&batch, executor] { return executor->Run(batch.inputs).status(); };
    };
    // The other lanes stand still meanwhile.
    ASSIGN_OR_RETURN(const Latency latency,
                     MeasureLatency(run(&runner_->executor(0)), run(&runner_->executor(two())),
                                    request_.seconds));
    const auto spread = [](const RunTimes& times) { return json{times.p10_ms, times.p90_ms}; };
    outcome_.latency = {{"threads", 1},
                        {"batch", batch.examples},
                        {"runs", latency.runs},
                        {"before_ms", latency.before.median_ms},
                        {"before_spread_ms", spread(latency.before)},
                        {"measured_with", "Lathe's executor"}};
    if (two()) {
      outcome_.latency["after_ms"] = latency.after.median_ms;
      outcome_.latency["after_spread_ms"] = spread(latency.after);
      outcome_.latency["ratio"] = latency.ratio;
    }
    if (!request_.processor.empty()) outcome_.latency["cpu_model"] = request_.processor;
    return absl::OkStatus();
  }

  absl::Status MeasureFirstBatchInRuntime() {
    if (!MeasuresRuntime()) return absl::OkStatus();
    absl::StatusOr<std::optional<ExampleBatch>> batch = request_.test();
    RETURN_IF_ERROR(DataError(batch.status()));
    return batch->has_value() ? MeasureInOtherRuntime(**batch) : absl::OkStatus();
  }

  bool MeasuresRuntime() const {
    return request_.runtime && request_.measure_latency && request_.seconds;
  }

  absl::Status MeasureInOtherRuntime(const ExampleBatch& batch) {
    if (!MeasuresRuntime()) return absl::OkStatus();
    RuntimeLatencyRequest measured;
    measured.runtime = request_.runtime;
    measured.before = request_.before_file;
    measured.after = request_.after_file;
    // A runtime unpacks what it has no kernel for: small weights may take what they took before.
    measured.after.file_bytes =
        std::max(measured.after.file_bytes, request_.before_file.file_bytes);
    measured.before.activation_bytes = outcome_.peak_activation_bytes_before;
    measured.after.activation_bytes = outcome_.peak_activation_bytes_after;
    measured.inputs = &batch.inputs;
    measured.examples = batch.examples;
    measured.seconds = request_.seconds;
    measured.cancelled = request_.cancelled;
    ASSIGN_OR_RETURN(runtime_, MeasureInRuntime(measured));
    return absl::OkStatus();
  }

  void AddRuntime(EvaluationOutcome* outcome) const {
    if (runtime_.is_null()) return;
    outcome->latency["onnxruntime"] = runtime_;
    if (!request_.processor.empty()) outcome->latency["cpu_model"] = request_.processor;
    for (std::string& line : RuntimeWarnings(runtime_)) {
      outcome->warnings.push_back(std::move(line));
    }
  }

  absl::Status Diagnose(const ExampleBatch& batch, int64_t index) {
    if (!request_.diagnose || !request_.compressed || request_.compared == nullptr) {
      return absl::OkStatus();
    }
    if (index == 0) {
      ASSIGN_OR_RETURN(diagnosis_,
                       Diagnosis::Make(*request_.model, *request_.compared, request_.cancelled));
    }
    return diagnosis_->Add(batch.inputs);
  }

  const EvaluationRequest& request_;
  const std::unique_ptr<Parallel> serial_ = MakeSerial();
  Parallel* parallel_ = serial_.get();
  std::unique_ptr<BatchRunner> runner_;
  std::unique_ptr<PairedEvaluation> metrics_;
  std::unique_ptr<Diagnosis> diagnosis_;
  EvaluationOutcome outcome_;
  json runtime_;                       // `latency.onnxruntime`; null: not asked for
  std::optional<ExampleBatch> first_;  // where the other runtime is measured
  int64_t batches_ = 0;
  int64_t examples_ = 0;
  bool told_before_ = false;
  bool told_after_ = false;
};

}  // namespace

absl::StatusOr<EvaluationOutcome> RunEvaluation(const EvaluationRequest& request) {
  return EvaluationRun(request).Run();
}

}  // namespace lathe::engine
