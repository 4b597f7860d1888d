#include "worker/engine/compress_run.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/file_error.h"
#include "common/recipe/catalogue.h"
#include "common/recipe/text.h"
#include "common/recipe/validate.h"
#include "common/status_macros.h"
#include "common/status_reason.h"
#include "worker/engine/accuracy_probe.h"
#include "worker/engine/engine_status.h"
#include "worker/engine/evaluate/layer_cost.h"
#include "worker/engine/evaluate/written_model.h"
#include "worker/engine/graph/clone.h"
#include "worker/engine/graph/edit.h"
#include "worker/engine/graph/layers.h"
#include "worker/engine/graph/reader.h"
#include "worker/engine/graph/scratch.h"
#include "worker/engine/graph/verifier.h"
#include "worker/engine/graph/writer.h"
#include "worker/engine/lint/warnings.h"
#include "worker/engine/methods/method.h"
#include "worker/engine/passes/inline_functions.h"
#include "worker/engine/recipe_fit.h"
#include "worker/engine/runtime_trial.h"

namespace lathe::engine {
namespace {

namespace fs = std::filesystem;

// Shares of the progress.
constexpr double kReadEnd = 0.05;
constexpr double kStepsEnd = 0.80;
constexpr double kWriteEnd = 0.90;
constexpr double kMeasureEnd = 0.93;  // an evaluation, where there is one, takes the rest

// Smaller constants are not worth a system call a layer.
constexpr int64_t kWorthDropping = 64 << 10;

// New constants of up to an eighth of the model's size stay in memory, so that small jobs hardly
// wait for a disk. More goes to files, so that no recipe holds a second model.
constexpr int64_t kInMemoryShare = 8;

constexpr int64_t kMaxBinding = int64_t{1} << 31;

std::vector<Bytes> LargeBorrowedConstants(const Model& model) {
  std::vector<Bytes> out;
  const auto add = [&out](const Tensor& tensor) {
    if (tensor.data.borrowed() && tensor.byte_size() >= kWorthDropping) out.push_back(tensor.data);
  };
  ForEachGraph(model, [&add](const Graph& graph) {
    for (const auto& [name, tensor] : graph.initializers) add(tensor);
    for (const auto& node : graph.nodes) {
      for (const Attribute& attribute : node->attributes) {
        for (const Tensor& tensor : attribute.tensors) add(tensor);
      }
    }
  });
  return out;
}

Inference CostOf(const Model& model, const Bindings& bindings) {
  Inference inference = InferShapes(model, bindings);
  inference.values.clear();
  inference.node_costs.clear();
  return inference;
}

// Plain reads and writes: a job's sandbox lets no other calls through.
absl::StatusOr<int64_t> CopyFile(const std::string& from, const std::string& to) {
  std::ifstream in(from, std::ios::binary);
  std::ofstream out(to, std::ios::binary | std::ios::trunc);
  std::vector<char> buffer(1 << 20);
  int64_t bytes = 0;
  while (in && out) {
    in.read(buffer.data(), static_cast<std::streamsize>(buffer.size()));
    out.write(buffer.data(), in.gcount());
    bytes += in.gcount();
  }
  out.close();
  if (!in.eof() || !out) {
    return WithReason(absl::ResourceExhaustedError(
                          absl::StrCat("copying the input to ", to, " failed; is the disk full?")),
                      kDiskFull);
  }
  return bytes;
}

absl::Status Bug(absl::string_view what, const absl::Status& status) {
  return absl::InternalError(absl::StrCat(what, " (a bug in Lathe): ", status.message()));
}

bool WantsAccuracy(const Step& step) {
  return step.method == "quantize_activations" && IsGiven(step, "max_accuracy_drop");
}

}  // namespace

CompressRun::CompressRun(const CompressRequest& request, const Hooks& hooks)
    : request_(request),
      hooks_(hooks),
      parallel_(request.threads > 1 ? MakeThreadPool(request.threads) : MakeSerial()) {}

absl::Status CompressRun::Run(CompressResult* result) {
  const double start = Now();
  double last = start;
  const auto lap = [this, &last](const char* phase) {
    const double now = Now();
    report_.timings[phase] = now - last;
    last = now;
  };
  RETURN_IF_ERROR(ReadRecipe());
  RETURN_IF_ERROR(ReadInput());
  lap("read");
  RETURN_IF_ERROR(ApplySteps());
  last = Now();
  report_.costs_before = CostByLayer(original_, request_.bindings, {});
  report_.costs_after = CostByLayer(model_, request_.bindings, Origins());
  RETURN_IF_ERROR(WriteOutput(result));
  lap("write");
  RETURN_IF_ERROR(CheckOutput(*result));
  lap("check");
  RETURN_IF_ERROR(MeasureOutput(*result));
  lap("measure");
  RETURN_IF_ERROR(EvaluateOutput());
  report_.timings["total"] = Now() - start;
  Report report = MakeReport(report_);
  result->report_json = std::move(report.json);
  result->rejected = std::move(report.rejected);
  result->report_text = ReportText(result->report_json);
  const auto before = static_cast<double>(report_.before.files.file_bytes);
  const auto after = static_cast<double>(report_.after.files.file_bytes);
  result->compression_ratio = after > 0 ? before / after : 1;
  Tell(steps(), "report", 1, "done");
  return absl::OkStatus();
}

absl::Status CompressRun::CheckCancelled() const {
  if (hooks_.cancelled && hooks_.cancelled()) return absl::CancelledError("the job was cancelled");
  return absl::OkStatus();
}

void CompressRun::Tell(int step, const std::string& stage, double fraction,
                       const std::string& message) {
  told_ = std::clamp(fraction, told_, 1.0);
  if (hooks_.progress) hooks_.progress({step, steps(), stage, told_, message});
}

void CompressRun::DropPages() const {
  for (const Bytes& bytes : file_constants_) bytes.DropPages();
}

void CompressRun::Log(const std::string& line) const {
  if (hooks_.log) hooks_.log(line);
}

absl::Status CompressRun::ReadRecipe() {
  absl::StatusOr<Recipe> recipe = ParseRecipe(request_.recipe_json);
  if (!recipe.ok()) return WithDefaultReason(recipe.status(), "INVALID_RECIPE");
  report_.recipe = *std::move(recipe);
  RETURN_IF_ERROR(
      WithDefaultReason(ViolationsToStatus(ValidateRecipe(report_.recipe)), "INVALID_RECIPE"));
  report_.constraints = ConstraintsOf(report_.recipe);
  for (const auto& [name, size] : request_.bindings) {
    if (size >= 0 && size <= kMaxBinding) continue;
    return WithDefaultReason(
        absl::InvalidArgumentError(
            absl::StrCat("binding '", name, "' must be in [0, ", kMaxBinding, "], got ", size)),
        "INVALID_RECIPE");
  }
  return absl::OkStatus();
}

absl::Status CompressRun::EvaluateOutput() {
  if (data_ == nullptr || !data_->has_test()) {
    if (data_ != nullptr) {
      report_.warnings.insert(report_.warnings.end(), data_->warnings().begin(),
                              data_->warnings().end());
    } else if (!report_.datasets.empty()) {
      report_.notes.push_back(
          "no step of this recipe uses data, and the recipe asks for no "
          "evaluation; the datasets were not read");
    }
    return absl::OkStatus();
  }
  EvaluatedModels models;
  models.model = &original_;
  models.compared = changed_ ? &written_ : &original_;
  models.compressed = true;
  models.processor = request_.processor;
  models.before_file = {absl::StrCat(request_.input_folder, "/", request_.main_file),
                        report_.before.files.file_bytes};
  models.after_file = {absl::StrCat(request_.output_folder, "/", written_file_),
                       report_.after.files.file_bytes};
  models.progress = [this](double share, const std::string& message) {
    Tell(steps(), "evaluate", kMeasureEnd + (1 - kMeasureEnd) * share, message);
  };
  models.parallel = parallel_.get();
  return EvaluateInto(*data_, models, hooks_, &report_);
}

absl::Status CompressRun::ReadInput() {
  Tell(0, "read", 0, request_.main_file);
  absl::StatusOr<Model> model = ReadModel(request_.input_folder, request_.main_file);
  if (!model.ok()) return ModelError(model.status());
  model_ = *std::move(model);
  RETURN_IF_ERROR(ModelError(VerifyModel(model_)));
  RETURN_IF_ERROR(CheckCancelled());
  report_.files = request_.input_files;
  report_.datasets = request_.datasets;
  report_.bindings = request_.bindings;
  ModelFigures& before = report_.before;
  before.inference = CostOf(model_, request_.bindings);
  before.opset = model_.OpsetVersion("");
  before.ir_version = model_.ir_version;
  before.weight_bytes = ConstantBytes(model_);
  ASSIGN_OR_RETURN(before.files,
                   MeasureFiles(request_.input_folder, model_.source_files, *parallel_));
  RETURN_IF_ERROR(ModelError(InlineFunctions(model_, &report_.notes)));
  RETURN_IF_ERROR(CheckTargets(report_.recipe, FindWeights(model_)));
  original_ = CloneModel(model_);
  ASSIGN_OR_RETURN(data_, EvaluationData::Open(request_.datasets, report_.recipe, original_));
  RETURN_IF_ERROR(CheckConstraints(report_.constraints, data_ != nullptr && data_->has_test()));
  report_.calibrated =
      data_ != nullptr && (data_->calibration() != nullptr || data_->train() != nullptr);
  ASSIGN_OR_RETURN(
      training_, TrainingSetup::Make(report_.recipe, request_, hooks_, original_,
                                     data_ == nullptr ? nullptr : data_->train(), &report_.notes));
  for (const Step& step : report_.recipe.steps) {
    if (CalibrationUse(step) == DataUse::kRequired &&
        (data_ == nullptr || data_->calibration() == nullptr)) {
      return WithReason(absl::InvalidArgumentError(absl::StrCat(
                            step.method, " needs calibration data: give some with --data FILE")),
                        "INVALID_DATASET");
    }
    if (WantsAccuracy(step)) {
      RETURN_IF_ERROR(AccuracyProbe::Make(data_.get(), report_.recipe, nullptr, nullptr).status());
    }
  }
  file_constants_ = LargeBorrowedConstants(original_);
  if (!request_.scratch_folder.empty()) {
    model_.scratch = std::make_shared<Scratch>(request_.scratch_folder,
                                               before.files.file_bytes / kInMemoryShare);
  }
  Tell(0, "read", kReadEnd, request_.main_file);
  return CheckCancelled();
}

std::map<std::string, std::string> CompressRun::Origins() {
  for (const Weight& weight : FindWeights(model_)) {
    if (weight.uses.empty()) continue;
    const std::string& origin = weight.uses.front().node->provenance.origin;
    if (origin.empty() || origin == weight.name) continue;
    const auto root = parts_.find(origin);
    parts_.emplace(weight.name, root == parts_.end() ? origin : root->second);
  }
  return parts_;
}

absl::Status CompressRun::ApplySteps() {
  const double share = (kStepsEnd - kReadEnd) / std::max(1, steps());
  for (int i = 0; i < steps(); ++i) {
    RETURN_IF_ERROR(ApplyStep(i, kReadEnd + share * i, kReadEnd + share * (i + 1)));
    RETURN_IF_ERROR(CheckCancelled());
  }
  if (changed_) return absl::OkStatus();
  std::vector<LayerOutcome> outcomes;
  for (const StepRecord& record : report_.steps) {
    outcomes.insert(outcomes.end(), record.outcome.layers.begin(), record.outcome.layers.end());
  }
  return CheckApplicable(outcomes);
}

absl::Status CompressRun::ApplyStep(int index, double from, double to) {
  const Step& step = report_.recipe.steps[static_cast<size_t>(index)];
  const Method* method = FindMethodImpl(step.method);
  if (method == nullptr) {
    return WithDefaultReason(absl::UnimplementedError(absl::StrCat(
                                 "steps[", index, "]: this worker has no method ", step.method,
                                 "; it is older or newer than the server")),
                             "INVALID_RECIPE");
  }
  const double start = Now();
  StepRecord& record = report_.steps.emplace_back();
  record.step = step;
  record.origins = Origins();
  Tell(index, step.method, from, "");
  StepContext ctx{model_,
                  step,
                  report_.recipe.seed,
                  *parallel_,
                  [this, index, &step, from, to](double fraction, const std::string& message) {
                    DropPages();
                    const double within = std::clamp(fraction, 0.0, 1.0);
                    Tell(index, step.method, from + (to - from) * within, message);
                  },
                  [this] { return hooks_.cancelled && hooks_.cancelled(); },
                  record.outcome,
                  data_ == nullptr ? nullptr : data_->calibration()};
  if (training_ != nullptr) ctx.training = training_->ForStep(index);
  if (hooks_.runtime && ctx.calibration != nullptr) {
    ctx.runtime_ratio = [this, &ctx](const Model& candidate) {
      RuntimeModel original;
      original.path = (fs::path(request_.input_folder) / request_.main_file).string();
      original.file_bytes = report_.before.files.file_bytes;
      return TryInRuntime(candidate, original, *ctx.calibration, request_.scratch_folder, hooks_);
    };
  }
  std::optional<AccuracyProbe> probe;
  if (WantsAccuracy(step)) {
    ASSIGN_OR_RETURN(
        probe, AccuracyProbe::Make(data_.get(), report_.recipe, parallel_.get(), hooks_.cancelled));
    ctx.accuracy = [&probe](const Model& candidate) { return probe->Of(candidate); };
  }
  RETURN_IF_ERROR(ModelError(method->apply(ctx)));
  if (training_ != nullptr) training_->EndStep(step);
  RemoveUnusedConstants(model_);
  const absl::Status valid = VerifyModel(model_);
  if (!valid.ok()) {
    return Bug(absl::StrCat("after steps[", index, "], ", step.method,
                            ", the model is not valid any more"),
               valid);
  }
  record.seconds = Now() - start;
  int done = 0;
  for (const LayerOutcome& layer : record.outcome.layers) done += layer.skipped_reason.empty();
  changed_ = changed_ || done > 0;
  RETURN_IF_ERROR(TraceStep(index, to, done > 0));
  Log(absl::StrCat(step.method, ": ", done, " of ", record.outcome.layers.size(), " layers"));
  return absl::OkStatus();
}

absl::Status CompressRun::TraceStep(int index, double fraction, bool changed) {
  // The evaluation of the result is that of the model after the last step.
  if (index + 1 >= steps() || data_ == nullptr || !data_->has_test() ||
      !EachStepMeasured(report_.recipe)) {
    return absl::OkStatus();
  }
  TracePoint& point = report_.trace.emplace_back();
  point.unchanged = !changed;
  if (point.unchanged) return absl::OkStatus();
  const double start = Now();
  Tell(index, "evaluate", fraction, absl::StrCat("the model after step ", index + 1));
  ASSIGN_OR_RETURN(point.file_bytes, WrittenBytes(model_, OutputName()));
  ASSIGN_OR_RETURN(point.quality, EvaluateStep(*data_, &original_, &model_, hooks_));
  DropPages();
  report_.timings["evaluate_steps"] += Now() - start;
  return CheckCancelled();
}

std::string CompressRun::OutputName() const {
  if (!request_.output_file.empty()) return request_.output_file;
  return fs::path(request_.main_file).filename().string();
}

absl::Status CompressRun::WriteOutput(CompressResult* result) {
  Tell(steps(), "write", kStepsEnd, "");
  const std::string main = OutputName();
  if (!changed_) {
    report_.notes.push_back("nothing was changed: the result is the input, byte for byte");
    return CopyInput(main, result);
  }
  ASSIGN_OR_RETURN(const std::vector<WrittenFile> written,
                   WriteModel(model_, request_.output_folder, main));
  for (const WrittenFile& file : written) result->files.push_back({file.path, file.size_bytes});
  Tell(steps(), "write", kWriteEnd, main);
  return absl::OkStatus();
}

// The main file may get another name; files of external data keep theirs, relative to it.
absl::Status CompressRun::CopyInput(const std::string& main, CompressResult* result) {
  const fs::path base = fs::path(request_.main_file).parent_path();
  for (size_t i = 0; i < original_.source_files.size(); ++i) {
    const fs::path source = original_.source_files[i];
    const fs::path target = i == 0 ? fs::path(main) : source.lexically_relative(base);
    const fs::path from = fs::path(request_.input_folder) / source;
    const fs::path to = fs::path(request_.output_folder) / target;
    std::error_code error;
    if (target.has_parent_path()) fs::create_directories(to.parent_path(), error);
    ASSIGN_OR_RETURN(const int64_t bytes, CopyFile(from.string(), to.string()));
    result->files.push_back({target.string(), bytes});
  }
  return absl::OkStatus();
}

absl::Status CompressRun::CheckOutput(const CompressResult& result) {
  Tell(steps(), "report", kWriteEnd, "reading the result back");
  absl::StatusOr<Model> written = ReadModel(request_.output_folder, result.files.front().path);
  if (!written.ok()) return Bug("the file just written cannot be read", written.status());
  const absl::Status valid = VerifyModel(*written);
  if (!valid.ok()) return Bug("the file just written is not valid", valid);
  if (changed_) {
    const std::string difference = FirstDifference(model_, *written);
    if (!difference.empty()) {
      return absl::InternalError(absl::StrCat(
          "the file just written is not the model that was to be written (a bug in Lathe): ",
          difference));
    }
  }
  model_ = Model();  // from here on the files speak
  written_ = *std::move(written);
  const std::vector<Bytes> constants = LargeBorrowedConstants(written_);
  file_constants_.insert(file_constants_.end(), constants.begin(), constants.end());
  DropPages();
  return absl::OkStatus();
}

absl::Status CompressRun::MeasureOutput(const CompressResult& result) {
  ModelFigures& before = report_.before;
  ModelFigures& after = report_.after;
  after.inference = CostOf(written_, request_.bindings);
  after.opset = written_.OpsetVersion("");
  after.ir_version = written_.ir_version;
  after.weight_bytes = ConstantBytes(written_);
  written_file_ = result.files.front().path;
  std::vector<std::string> paths;
  for (const OutputFile& file : result.files) paths.push_back(file.path);
  ASSIGN_OR_RETURN(after.files, MeasureFiles(request_.output_folder, paths, *parallel_));

  if (changed_) {
    report_.warnings = LintWarnings(original_, written_, request_.bindings);
    DropPages();
  }

  // An unchanged model may still call functions that were inlined here: it is compared with itself.
  const Model& compared = changed_ ? written_ : original_;
  ASSIGN_OR_RETURN(report_.measures, MeasureWeights(original_, compared, *parallel_, [this] {
                     DropPages();
                     return CheckCancelled();
                   }));
  const OtherParameters others = CountOtherParameters(original_);
  before.parameters = after.parameters = others.parameters;
  before.nonzero_parameters = after.nonzero_parameters = others.nonzero;
  for (const LayerMeasure& measure : report_.measures) {
    before.parameters += measure.parameters_before;
    before.nonzero_parameters += measure.nonzero_before;
    after.parameters += measure.parameters_after;
    after.nonzero_parameters += measure.nonzero_after;
  }
  return absl::OkStatus();
}

}  // namespace lathe::engine
