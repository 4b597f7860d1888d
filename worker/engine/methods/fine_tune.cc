// Training as a step of a recipe: fine_tune and distill.
//
// The model is trained as it is after the steps before. What they did stays done: pruned weights
// stay zero, the factors of low_rank are trained as they are, and weights stored as integers are
// trained on their grid (train/grid.h), so that what is exported is what the last forward run
// computed with. Losses are those of train/loss.h; `distill` of fine_tune, and the teacher of
// distill where the job gives none, is the model as it was before the recipe.
#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/recipe/catalogue.h"
#include "common/status_macros.h"
#include "common/status_reason.h"
#include "worker/engine/graph/clone.h"
#include "worker/engine/graph/layers.h"
#include "worker/engine/methods/gradual_pruning.h"
#include "worker/engine/methods/layer_outcome.h"
#include "worker/engine/methods/method.h"
#include "worker/engine/run/executor.h"
#include "worker/engine/train/scores.h"
#include "worker/engine/train/trainable.h"
#include "worker/engine/train/trainer.h"
#include "worker/engine/train/training_set.h"

namespace lathe::engine {
namespace {

// Examples that training may hold in memory.
constexpr int64_t kMaxExampleBytes = int64_t{4} << 30;
// Learning rates where the recipe names none. Transformers, which normalize layers, take a smaller
// one.
constexpr double kAdamRate = 2e-3;
constexpr double kTransformerRate = 1e-4;
constexpr double kSgdRate = 1e-2;
// Temperature at which the model is compared with itself before the recipe.
constexpr double kOwnTemperature = 2;

bool Contains(const Model& model, std::initializer_list<absl::string_view> ops) {
  for (const auto& node : model.graph->nodes) {
    for (const absl::string_view op : ops) {
      if (node->op_type == op) return true;
    }
  }
  return false;
}

class FineTuner {
 public:
  explicit FineTuner(StepContext& ctx)
      : ctx_(ctx), step_(ctx.step), is_distill_(ctx.step.method == "distill") {}

  absl::Status Run();

 private:
  absl::Status ReadOptions();
  absl::Status ChooseLoss();
  absl::StatusOr<bool> LabelsFitScores(size_t output);
  absl::Status CheckTeacher() const;
  absl::StatusOr<size_t> OutputIndex() const;
  TrainableOptions WhatIsTrained();
  void Describe(const TrainOutcome& outcome, const std::vector<Parameter>& before,
                const Trainable& trainable);
  void Note(std::string note) { ctx_.outcome.notes.push_back(std::move(note)); }

  StepContext& ctx_;
  const Step& step_;
  const bool is_distill_;
  TrainOptions options_;
  std::unique_ptr<TrainingSet> examples_;
  Model student_;  // the model, with scores in place of probabilities
  std::optional<Model> teacher_;
  std::string loss_name_;
};

absl::StatusOr<size_t> FineTuner::OutputIndex() const {
  const std::string& name = ctx_.training->output;
  if (name.empty()) return FirstFloatOutput(ctx_.model);
  const auto& outputs = ctx_.model.graph->outputs;
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (outputs[i].name == name) return i;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("evaluate.output names '", name, "', which is not an output of the model"));
}

absl::Status FineTuner::ReadOptions() {
  const std::string optimizer = GetString(step_, "optimizer");
  options_.optimizer.kind = optimizer == "sgd"     ? OptimizerKind::kSgd
                            : optimizer == "adamw" ? OptimizerKind::kAdamW
                                                   : OptimizerKind::kAdam;
  options_.optimizer.beta1 = GetDouble(step_, "momentum");
  options_.optimizer.weight_decay = GetDouble(step_, "weight_decay");
  const std::string schedule = GetString(step_, "schedule");
  options_.schedule = schedule == "linear"     ? ScheduleKind::kLinear
                      : schedule == "step"     ? ScheduleKind::kStep
                      : schedule == "constant" ? ScheduleKind::kConstant
                                               : ScheduleKind::kCosine;
  const bool transformer =
      Contains(ctx_.model, {"LayerNormalization", "SkipLayerNormalization", "Attention",
                            "RMSNormalization", "SimplifiedLayerNormalization"});
  options_.learning_rate = options_.optimizer.kind == OptimizerKind::kSgd ? kSgdRate
                           : transformer                                  ? kTransformerRate
                                                                          : kAdamRate;
  if (IsGiven(step_, "learning_rate")) {
    options_.learning_rate = GetDouble(step_, "learning_rate");
  }
  options_.warmup = GetDouble(step_, "warmup");
  options_.epochs = GetInt(step_, "epochs");
  if (IsGiven(step_, "steps")) options_.steps = GetInt(step_, "steps");
  options_.batch_size = GetInt(step_, "batch_size");
  options_.clip_norm = GetDouble(step_, "clip_norm");
  options_.validation = GetDouble(step_, "validation");
  options_.patience = GetInt(step_, "patience");
  options_.augmentation.flip = GetBool(step_, "flip");
  options_.augmentation.shift = GetInt(step_, "shift");
  options_.augmentation.noise = GetDouble(step_, "noise");
  options_.augmentation.mixup = GetDouble(step_, "mixup");
  if (IsGiven(step_, "memory_mb")) options_.memory_bytes = GetInt(step_, "memory_mb") << 20;
  options_.loss.label_smoothing = GetDouble(step_, "label_smoothing");
  options_.seed = ctx_.seed;
  if (options_.patience > 0 && options_.validation <= 0) {
    return absl::InvalidArgumentError(
        "patience needs examples that are kept back: give validation, as 0.1");
  }
  ASSIGN_OR_RETURN(options_.output, OutputIndex());
  return absl::OkStatus();
}

// Whether labels of several symbols are one for each position of the scores (tokens), and not a
// text that is to be aligned with them.
absl::StatusOr<bool> FineTuner::LabelsFitScores(size_t output) {
  MicroBatch batch;
  const int64_t first[] = {0};
  examples_->Gather(first, {}, 0, &batch);
  ASSIGN_OR_RETURN(const std::unique_ptr<Executor> executor, Executor::Make(student_, {}));
  ASSIGN_OR_RETURN(const std::vector<Value> outputs, executor->Run(batch.inputs));
  const Shape& dims = outputs[output].dims;
  if (dims.size() < 3 || !batch.labels) return true;
  Shape last(dims.begin(), dims.end() - 1);
  Shape second(dims.begin() + 2, dims.end());
  last[0] = batch.labels->dims[0];
  second.insert(second.begin(), batch.labels->dims[0]);
  return batch.labels->dims == last || batch.labels->dims == second;
}

absl::Status FineTuner::ChooseLoss() {
  LossOptions& loss = options_.loss;
  loss_name_ = GetString(step_, "loss");
  const LabelKind labels = examples_->label_kind();
  const bool probabilities = EndsInProbabilities(ctx_.model, options_.output);
  const bool classes =
      labels == LabelKind::kClass || labels == LabelKind::kOneHot || labels == LabelKind::kIds;
  bool teacher = is_distill_;
  if (!is_distill_) {
    if (loss_name_ == "auto") {
      switch (labels) {
        case LabelKind::kClass:
        case LabelKind::kOneHot:
          loss_name_ = "cross_entropy";
          break;
        case LabelKind::kIds: {
          ASSIGN_OR_RETURN(const bool fit, LabelsFitScores(options_.output));
          loss_name_ = fit ? "cross_entropy" : "ctc";
          break;
        }
        case LabelKind::kFloat:
          loss_name_ = "mse";
          break;
        default:
          loss_name_ = "distill";
          break;
      }
    }
    if (loss_name_ == "cross_entropy") {
      loss.kind = LossKind::kCrossEntropy;
    } else if (loss_name_ == "mse") {
      loss.kind = LossKind::kMse;
    } else if (loss_name_ == "ctc") {
      loss.kind = LossKind::kCtc;
    } else {
      teacher = true;
      loss.kind = probabilities ? LossKind::kKl : LossKind::kFeature;
      loss.alpha = 1;
      loss.temperature = kOwnTemperature;
    }
  } else {
    loss.temperature = GetDouble(step_, "temperature");
    loss.alpha = GetDouble(step_, "alpha");
    if (loss_name_ == "auto") loss_name_ = probabilities || classes ? "kl" : "feature";
    loss.kind = loss_name_ == "kl"    ? LossKind::kKl
                : loss_name_ == "dkd" ? LossKind::kDkd
                                      : LossKind::kFeature;
    // Without a single label the teacher is all there is.
    if (!classes && loss.kind != LossKind::kFeature) loss.alpha = 1;
  }
  student_ = CloneModel(ctx_.model);
  const bool scores = loss.kind != LossKind::kMse && loss.kind != LossKind::kFeature;
  if (scores) ExposeScores(student_, options_.output);
  if (!teacher) return absl::OkStatus();
  const Model* from = is_distill_ && ctx_.training->teacher != nullptr ? ctx_.training->teacher
                                                                       : ctx_.training->original;
  teacher_ = CloneModel(*from);
  if (scores) ExposeScores(*teacher_, options_.output);
  return CheckTeacher();
}

absl::Status FineTuner::CheckTeacher() const {
  if (teacher_->graph->outputs.size() == student_.graph->outputs.size()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("the teacher has ", teacher_->graph->outputs.size(), " outputs and the model ",
                   student_.graph->outputs.size(), "; they must have the same"));
}

TrainableOptions FineTuner::WhatIsTrained() {
  TrainableOptions options;
  const bool integer_arithmetic = Contains(ctx_.model, {"QuantizeLinear"});
  const std::string quantized = GetString(step_, "quantized");
  options.quantized = quantized == "frozen" ? QuantizedWeights::kFrozen
                      : quantized == "ste" || integer_arithmetic
                          ? QuantizedWeights::kStraightThrough
                          : QuantizedWeights::kLearnedSteps;
  if (integer_arithmetic && quantized == "lsq") {
    Note("the model computes in integers: scales stay as they are, so that biases keep fitting");
  }
  options.before = ctx_.training->original;
  const std::vector<std::string> targets = GetStrings(step_, "targets");
  const std::vector<std::string> skip = GetStrings(step_, "skip");
  options.selected = [targets, skip](const std::string& name, const std::string& layer) {
    const auto matches = [&](const std::vector<std::string>& globs) {
      return std::any_of(globs.begin(), globs.end(), [&](const std::string& glob) {
        return GlobMatch(glob, name) || GlobMatch(glob, layer);
      });
    };
    return (targets.empty() || matches(targets)) && !matches(skip);
  };
  const std::string norm = GetString(step_, "batch_norm");
  const int64_t batch = examples_->fixed_batch().value_or(options_.batch_size);
  const bool quantized_weights = Contains(ctx_.model, {"QuantizeLinear", "DequantizeLinear"});
  options.batch_statistics =
      norm == "update" || (norm == "auto" && batch >= 8 && !quantized_weights);
  if (norm == "update" && batch < 2) {
    Note("the model takes one example at a time: statistics of a batch are those of one");
  }
  return options;
}

absl::Status FineTuner::Run() {
  if (ctx_.training == nullptr || ctx_.training->train == nullptr) {
    return WithReason(absl::InvalidArgumentError(
                          absl::StrCat(step_.method,
                                       " needs examples to train on: give some with --data "
                                       "train=FILE, or --data FILE for all that the recipe needs")),
                      "INVALID_DATASET");
  }
  ctx_.progress(0, "reading the training examples");
  ASSIGN_OR_RETURN(examples_, TrainingSet::Load(*ctx_.training->train, kMaxExampleBytes));
  RETURN_IF_ERROR(ReadOptions());
  student_ = CloneModel(ctx_.model);
  RETURN_IF_ERROR(ChooseLoss());
  const TrainableOptions what = WhatIsTrained();
  ASSIGN_OR_RETURN(Trainable trainable, Trainable::Make(student_, what));
  GradualPruning pruning(ctx_.training->gradual, ctx_.parallel);
  const std::vector<Parameter> before = trainable.parameters();
  TrainRequest request;
  request.trainable = &trainable;
  request.examples = examples_.get();
  request.teacher = teacher_ ? &*teacher_ : nullptr;
  request.original = &student_;
  request.parallel = &ctx_.parallel;
  TrainHooks hooks;
  hooks.progress = ctx_.progress;
  hooks.cancelled = ctx_.cancelled;
  hooks.checkpoint_due = ctx_.training->checkpoint_due;
  hooks.save_checkpoint = ctx_.training->save_checkpoint;
  hooks.keep_final = ctx_.training->keep_final;
  hooks.resume = ctx_.training->resume;
  hooks.resumed = [this](int64_t done, int64_t total) {
    Note(absl::StrCat("resumed from step ", done, " of ", total,
                      ", where an earlier attempt had saved its state"));
    if (ctx_.training->resumed) ctx_.training->resumed(done, total);
  };
  if (pruning.any()) {
    hooks.before_step = [&pruning](int64_t done, int64_t total,
                                   std::vector<Parameter>& parameters) {
      return pruning.Apply(done, total, parameters);
    };
  }
  ASSIGN_OR_RETURN(const TrainOutcome outcome, Train(request, options_, hooks));
  RETURN_IF_ERROR(trainable.WriteTo(ctx_.model));
  Describe(outcome, before, trainable);
  return absl::OkStatus();
}

void FineTuner::Describe(const TrainOutcome& outcome, const std::vector<Parameter>& before,
                         const Trainable& trainable) {
  std::map<std::string, size_t> by_name;
  const std::vector<Parameter>& after = trainable.parameters();
  for (size_t p = 0; p < after.size(); ++p) by_name[after[p].name] = p;
  std::map<std::string, std::string> reasons;
  for (const Untrained& one : trainable.untrained()) reasons[one.name] = one.reason;
  for (const Weight& weight : FindWeights(ctx_.model)) {
    LayerOutcome layer = NewOutcome(weight);
    const auto found = by_name.find(weight.source_name);
    const bool unreached =
        found != by_name.end() && std::find(outcome.unreached.begin(), outcome.unreached.end(),
                                            weight.source_name) != outcome.unreached.end();
    if (found == by_name.end() || unreached) {
      const auto reason = reasons.find(weight.source_name);
      layer.skipped_reason =
          unreached ? "no gradient reaches it"
          : reason != reasons.end()
              ? reason->second
              : (weight.blocked_reason.empty() ? "not trained" : weight.blocked_reason);
    } else {
      const Parameter& now = after[found->second];
      const Parameter& then = before[found->second];
      layer.scheme =
          now.grid ? (now.grid->learn_scales ? "trained, integers and scales" : "trained, integers")
                   : "trained";
      if (!now.mask.empty()) {
        const auto zeros =
            static_cast<double>(std::count(now.values.begin(), now.values.end(), 0.0f));
        layer.sparsity = zeros / static_cast<double>(std::max<int64_t>(1, now.size()));
        absl::StrAppend(&layer.scheme, ", ", Percent(*layer.sparsity), " zeros");
      }
      double change = 0;
      double norm = 0;
      for (size_t i = 0; i < now.values.size(); ++i) {
        const auto d = static_cast<double>(now.values[i]) - static_cast<double>(then.values[i]);
        change += d * d;
        norm += static_cast<double>(then.values[i]) * static_cast<double>(then.values[i]);
      }
      SetError(layer, change, norm);
    }
    ctx_.outcome.layers.push_back(std::move(layer));
  }
  for (const std::string& note : outcome.notes) Note(note);
  for (const std::string& blocked : outcome.blocked) {
    Note(absl::StrCat("gradients end at ", blocked, "; what lies before it was not trained"));
  }
  Note(absl::StrFormat(
      "%d arrays trained for %d steps of %d examples (%.4g epochs) with %s at a learning rate "
      "of %.3g; loss %s",
      after.size(), outcome.steps, outcome.batch_size, outcome.epochs,
      GetString(step_, "optimizer"), outcome.learning_rate, loss_name_));
  if (outcome.best_step >= 0) {
    Note(absl::StrCat(outcome.stopped_early ? "it ended early; " : "", "the values of step ",
                      outcome.best_step, ", best on the examples kept back, were taken"));
  }
  ctx_.outcome.training = StepTraining{outcome, loss_name_};
}

}  // namespace

absl::Status ApplyFineTune(StepContext& ctx) {
  const absl::Status status = FineTuner(ctx).Run();
  // What is not the data's fault is the step's: it asks of this model what cannot be.
  if (absl::IsInvalidArgument(status) && ReasonOf(status).empty()) {
    return WithReason(status, "INVALID_RECIPE");
  }
  return status;
}
absl::Status ApplyDistill(StepContext& ctx) { return ApplyFineTune(ctx); }

}  // namespace lathe::engine
