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
#include "worker/engine/run/executor.h"

namespace lathe::engine {
namespace {

using nlohmann::json;

// Batches that the layers are looked at with: every one costs a run of each layer for itself.
constexpr int kDiagnosisBatches = 1;

absl::Status DataError(const absl::Status& status) {
  if (status.code() != absl::StatusCode::kInvalidArgument || !ReasonOf(status).empty()) {
    return status;
  }
  return WithReason(status, "INVALID_DATASET");
}

class EvaluationRun {
 public:
  explicit EvaluationRun(const EvaluationRequest& request) : request_(request) {}

  absl::StatusOr<EvaluationOutcome> Run() {
    ExecutorOptions options;
    options.cancelled = request_.cancelled;
    absl::Status able = MakeExecutor(*request_.model, options, &before_);
    if (able.ok() && request_.compared != nullptr) {
      able = MakeExecutor(*request_.compared, options, &after_);
    }
    if (absl::IsUnimplemented(able)) {
      RETURN_IF_ERROR(MeasureFirstBatchInRuntime());
      return NotEvaluated(able);
    }
    RETURN_IF_ERROR(able);
    // One model without labels has no figures; it is run for what it takes, and for NaN.
    if (after_ != nullptr || request_.metrics.task) {
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
  static absl::Status MakeExecutor(const Model& model, const ExecutorOptions& options,
                                   std::unique_ptr<Executor>* executor) {
    ASSIGN_OR_RETURN(*executor, Executor::Make(model, options));
    return absl::OkStatus();
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
    for (int64_t index = 0;; ++index) {
      ASSIGN_OR_RETURN(std::optional<ExampleBatch> batch, request_.test());
      if (!batch) break;
      const absl::Status ran = RunBatch(*batch);
      // What the executor cannot run, the other runtime may.
      if (index == 0 && (ran.ok() || absl::IsUnimplemented(ran))) {
        RETURN_IF_ERROR(MeasureInOtherRuntime(*batch));
      }
      RETURN_IF_ERROR(ran);
      if (index == 0) RETURN_IF_ERROR(MeasureTimes(*batch));
      if (index < kDiagnosisBatches) RETURN_IF_ERROR(Diagnose(*batch, index));
      examples_ += batch->examples;
      if (request_.progress) request_.progress(examples_);
    }
    if (diagnosis_ != nullptr) outcome_.layers = diagnosis_->Result();
    if (examples_ > 0) return absl::OkStatus();
    return absl::InvalidArgumentError("there are no examples to evaluate the model on");
  }

  absl::Status RunBatch(const ExampleBatch& batch) {
    ASSIGN_OR_RETURN(const std::vector<Value> before, before_->Run(batch.inputs));
    // What the first model has put out is kept while the second runs: each has its own memory.
    const OutputArrays arrays_before(before_->output_names(), before, batch.examples, batch.rows);
    NoteBad(*request_.model, before, batch, "the model");
    outcome_.peak_activation_bytes_before =
        std::max(outcome_.peak_activation_bytes_before, before_->peak_activation_bytes());
    const LabelBatch* labels = batch.labels ? &*batch.labels : nullptr;
    if (metrics_ == nullptr) return absl::OkStatus();
    if (after_ == nullptr) {
      if (labels == nullptr) return metrics_->Add(arrays_before.batch(), LabelBatch());
      return metrics_->Add(arrays_before.batch(), *labels);
    }
    ASSIGN_OR_RETURN(const std::vector<Value> after, after_->Run(batch.inputs));
    const OutputArrays arrays_after(after_->output_names(), after, batch.examples, batch.rows);
    NoteBad(*request_.compared, after, batch, "the compressed model");
    outcome_.peak_activation_bytes_after =
        std::max(outcome_.peak_activation_bytes_after, after_->peak_activation_bytes());
    return metrics_->Add(arrays_before.batch(), arrays_after.batch(), labels);
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
    Executor* other = after_ != nullptr ? after_.get() : before_.get();
    ASSIGN_OR_RETURN(const Latency latency,
                     MeasureLatency(run(before_.get()), run(other), request_.seconds));
    const auto spread = [](const RunTimes& times) { return json{times.p10_ms, times.p90_ms}; };
    outcome_.latency = {{"threads", 1},
                        {"batch", batch.examples},
                        {"runs", latency.runs},
                        {"before_ms", latency.before.median_ms},
                        {"before_spread_ms", spread(latency.before)},
                        {"measured_with", "Lathe's executor"}};
    if (after_ != nullptr) {
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
  std::unique_ptr<Executor> before_;
  std::unique_ptr<Executor> after_;
  std::unique_ptr<PairedEvaluation> metrics_;
  std::unique_ptr<Diagnosis> diagnosis_;
  EvaluationOutcome outcome_;
  json runtime_;  // `latency.onnxruntime`; null: not asked for
  int64_t examples_ = 0;
  bool told_before_ = false;
  bool told_after_ = false;
};

}  // namespace

absl::StatusOr<EvaluationOutcome> RunEvaluation(const EvaluationRequest& request) {
  return EvaluationRun(request).Run();
}

}  // namespace lathe::engine
