// Activation quantization: A' = Q_k(A) with ranges from calibration data (static) or of each run
// (dynamic), together with int8 weights, in forms that a stock ONNX Runtime computes in integers
// (passes/emit_integers.h). Weights of layers that stay float are stored in 8 bits.
//
// Which layers: methods/integer_search.h. With nothing set the result is no larger, no slower by
// the estimate of methods/integer_cost.h, and within `min_sqnr_db` of the original on examples that
// the ranges were not taken from. What could not be had is float, and the report says why.
#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/recipe/catalogue.h"
#include "common/status_macros.h"
#include "worker/engine/calibrate/collect.h"
#include "worker/engine/calibrate/output_noise.h"
#include "worker/engine/graph/clone.h"
#include "worker/engine/graph/edit.h"
#include "worker/engine/methods/bias_correction.h"
#include "worker/engine/methods/float_between.h"
#include "worker/engine/methods/integer_cost.h"
#include "worker/engine/methods/integer_outcome.h"
#include "worker/engine/methods/integer_planner.h"
#include "worker/engine/methods/integer_search.h"
#include "worker/engine/methods/layer_outcome.h"
#include "worker/engine/methods/method.h"
#include "worker/engine/methods/safe_weights.h"
#include "worker/engine/passes/emit_integers.h"
#include "worker/engine/passes/equalize_channels.h"
#include "worker/engine/passes/fold_batch_norm.h"
#include "worker/engine/passes/integer_units.h"
#include "worker/engine/passes/smooth_inputs.h"
#include "worker/engine/passes/upgrade_opset.h"

namespace lathe::engine {
namespace {

constexpr int64_t kOpset = 13;            // DequantizeLinear along an axis
constexpr int64_t kOpsetWith16Bits = 21;  // QuantizeLinear to 16 bits
constexpr int64_t kMostNoiseExamples = 128;
constexpr double kSmoothAlpha = 0.5;  // where none is given
// SQNR that weights in 8 bits are to keep, tried in turn where the accuracy decides; 0: any.
constexpr double kWeightDbForAccuracy[] = {0, 24, 32, 40, 60};
constexpr double kSmoothWorthDb = 0.5;  // a Mul more for each input wants to be earned

RangeMethod MethodByName(const std::string& name) {
  if (name == "minmax") return RangeMethod::kMinMax;
  if (name == "percentile") return RangeMethod::kPercentile;
  if (name == "entropy") return RangeMethod::kEntropy;
  if (name == "moving_average") return RangeMethod::kMovingAverage;
  return RangeMethod::kMse;
}

class ActivationQuantizer {
 public:
  explicit ActivationQuantizer(StepContext& ctx)
      : ctx_(ctx), mode_(GetString(ctx.step, "mode")), target_(GetString(ctx.step, "target")) {
    const bool simple = target_ == "npu" || target_ == "microcontroller";
    options_.range.method = MethodByName(GetString(ctx.step, "calibration"));
    options_.range.percentile = GetDouble(ctx.step, "percentile");
    options_.range.bits = static_cast<int>(GetInt(ctx.step, "bits"));
    options_.range.symmetric = GetBool(ctx.step, "symmetric") || simple;
    options_.powers_of_two = target_ == "npu";
    options_.weights.per_channel = GetBool(ctx.step, "per_channel") && target_ != "npu";
    options_.weights.powers_of_two = target_ == "npu";
    options_.weights.safe_pairs = target_ == "portable" || target_ == "avx2";
    const std::vector<std::string> keep = GetStrings(ctx.step, "keep_float");
    automatic_ = keep.size() == 1 && keep[0] == "auto";
    if (!automatic_ && !(keep.size() == 1 && keep[0] == "none")) keep_float_ = keep;
  }

  absl::Status Go() {
    {
      const std::vector<Weight> weights = FindWeights(ctx_.model);
      NoteUnmatchedTargets(ctx_, weights);
      for (const Weight& weight : weights) {
        record_.start.push_back(NewOutcome(weight));
        start_data_[weight.name] = SourceTensor(weight).data.view().data();
      }
    }
    original_ = CloneModel(ctx_.model);
    if (mode_ != "dynamic" && ctx_.calibration == nullptr) {
      Note(
          "no calibration data were given (--data FILE): ranges of activations are not known, so "
          "only weights are quantized; `mode: dynamic` needs no data, and is then not checked");
      return WeightsAlone("no calibration data");
    }
    RETURN_IF_ERROR(Prepare());
    FindUnits();
    if (GetBool(ctx_.step, "equalize")) {
      ASSIGN_OR_RETURN(const int64_t pairs, EqualizeChannels(ctx_.model, weights_, units_));
      Note(absl::StrCat(pairs, " pairs of layers equalized"));
      FindUnits();
    }
    if (ctx_.calibration == nullptr) return DynamicUnchecked();
    absl::Status seen = See(original_);
    if (seen.ok()) seen = Smooth();
    if (absl::IsUnimplemented(seen) && mode_ != "static") {
      Note(
          absl::StrCat("only weights are quantized, since the engine cannot run the model on the "
                       "calibration data: ",
                       seen.message()));
      return WeightsAlone("the model cannot be run");
    }
    RETURN_IF_ERROR(seen);
    if (automatic_ && !noise_->comparable()) {
      Note(
          "the model has no float output that is not zero, so errors cannot be measured: only "
          "weights are quantized; keep_float: none takes all layers unmeasured");
      return WeightsAlone("its error cannot be measured");
    }
    RETURN_IF_ERROR(SetBounds());
    RETURN_IF_ERROR(ProtectWeights());
    RETURN_IF_ERROR(Choose());
    return Apply();
  }

 private:
  void Note(std::string note) { ctx_.outcome.notes.push_back(std::move(note)); }

  // The float model in the form that integers are put into.
  absl::Status Prepare() {
    const int64_t wanted = options_.range.bits == 16 ? kOpsetWith16Bits : kOpset;
    const int64_t opset = ctx_.model.OpsetVersion("");
    if (opset < wanted) {
      const absl::Status lifted = UpgradeOpset(ctx_.model, wanted, &ctx_.outcome.notes);
      if (lifted.ok()) {
        Note(absl::StrCat("opset lifted from ", opset, " to ", wanted, ": integer layers need it"));
      } else {
        opset_reason_ = absl::StrCat("the model's opset ", opset, " cannot be lifted to ", wanted,
                                     ": ", lifted.message());
        Note(opset_reason_);
      }
    }
    ForEachView(ctx_.model, FoldBatchNorm);
    return absl::OkStatus();
  }

  void FindUnits() {
    weights_ = FindWeights(ctx_.model);
    units_ = FindIntegerUnits(ctx_.model, weights_);
    rescaled_.clear();
    for (const Weight& weight : weights_) {
      const auto start = start_data_.find(weight.name);
      const char* now = SourceTensor(weight).data.view().data();
      if (start != start_data_.end() && start->second != now) rescaled_.insert(weight.name);
    }
  }

  void MarkRescaled() {
    for (LayerOutcome& layer : ctx_.outcome.layers) {
      layer.rescaled = layer.skipped_reason.empty() && rescaled_.count(layer.name) != 0;
    }
  }

  // Everything in integers, as a yardstick; nullopt where nothing can be.
  absl::StatusOr<std::optional<double>> AllIntegersDb() {
    std::vector<UnitForm> linear(units_.size(), UnitForm::kFloat);
    bool any = false;
    for (size_t u = 0; u < units_.size(); ++u) {
      if (!units_[u].Linear() || StaysFloat(units_[u])) continue;
      const bool lstm = units_[u].kind == UnitKind::kRecurrent;
      const bool product = units_[u].not_dynamic.empty();
      if (mode_ != "dynamic" && planner_->WhyNotStatic(u).empty()) linear[u] = UnitForm::kStatic;
      if (mode_ != "static" && product) linear[u] = UnitForm::kDynamic;
      // Smoothing, which this is asked for, has nothing to do with LSTMs.
      any = any || (product && !lstm && linear[u] != UnitForm::kFloat);
    }
    if (!any) return std::nullopt;
    const std::vector<bool> barred(units_.size(), false);
    Model model = CloneModel(ctx_.model);
    const IntegerPlan plan = planner_->Plan(planner_->Spread(std::move(linear), barred));
    RETURN_IF_ERROR(EmitIntegers(model, units_, plan, ctx_.parallel).status());
    ASSIGN_OR_RETURN(const std::vector<double> ratios,
                     noise_->Ratios(model, std::min<int64_t>(noise_->batches(), 8)));
    return WorstDb(ratios);
  }

  // As asked for: with a given alpha, or where it is less noisy.
  absl::Status Smooth() {
    const std::string smooth = GetString(ctx_.step, "smooth");
    if (smooth == "off") return absl::OkStatus();
    double alpha = 0;
    const bool compare = !absl::SimpleAtod(smooth, &alpha);
    if (compare) alpha = kSmoothAlpha;
    std::optional<double> plain_db;
    if (compare) {
      ASSIGN_OR_RETURN(plain_db, AllIntegersDb());
      if (!plain_db) return absl::OkStatus();
    }
    std::map<std::string, std::vector<float>> largest;
    for (const auto& [value, channels] : seen_.channels) largest[value] = channels.largest;
    Model plain = CloneModel(ctx_.model);
    Collected seen = std::move(seen_);
    ASSIGN_OR_RETURN(const Smoothed smoothed,
                     SmoothInputs(ctx_.model, weights_, units_, largest, alpha));
    if (smoothed.inputs > 0) {
      FindUnits();
      RETURN_IF_ERROR(Calibrate());
      ASSIGN_OR_RETURN(const std::optional<double> smooth_db, AllIntegersDb());
      if (!compare || (smooth_db && *smooth_db > *plain_db + kSmoothWorthDb)) {
        NoteSmoothing(smoothed, alpha, plain_db, smooth_db);
        plain_ = std::move(plain);
        plain_seen_ = std::move(seen);
        return absl::OkStatus();
      }
    }
    Restore(std::move(plain), std::move(seen));
    return absl::OkStatus();
  }

  void NoteSmoothing(const Smoothed& smoothed, double alpha, std::optional<double> plain_db,
                     std::optional<double> smooth_db) {
    std::string effect;
    if (smooth_db) effect = absl::StrFormat(": %.1f dB with all in integers", *smooth_db);
    if (plain_db) absl::StrAppendFormat(&effect, " instead of %.1f", *plain_db);
    Note(
        absl::StrFormat("%d inputs of matrix products smoothed with alpha %g (%d of them without "
                        "an operator of their own)%s",
                        smoothed.inputs, alpha, smoothed.folded, effect));
  }

  // The model before smoothing. Its units are the same, in the same order.
  void Restore(Model plain, Collected seen) {
    ctx_.model = std::move(plain);
    seen_ = std::move(seen);
    FindUnits();
    Derive();
  }

  // Smoothing is for integer products: without one it is a Mul too many.
  void UndoIdleSmoothing() {
    if (!plain_) return;
    for (size_t u = 0; u < units_.size(); ++u) {
      const bool product = units_[u].kind == UnitKind::kMatMul || units_[u].kind == UnitKind::kGemm;
      if (product && chosen_.forms[u] != UnitForm::kFloat) return;
    }
    Restore(*std::move(plain_), std::move(plain_seen_));
    plain_.reset();
  }

  void Derive() {
    planner_.reset();
    cost_.emplace(ctx_.model, units_, weights_, seen_);
    planner_.emplace(units_, seen_, *cost_, options_);
  }

  absl::Status See(const Model& original) {
    ASSIGN_OR_RETURN(const CalibrationData::Next held,
                     ctx_.calibration->Read(CalibrationData::Part::kHeldBack));
    ASSIGN_OR_RETURN(OutputNoise noise,
                     OutputNoise::Make(original, held, kMostNoiseExamples, ctx_.cancelled));
    noise_.emplace(std::move(noise));
    RETURN_IF_ERROR(Calibrate());
    Note(absl::StrCat(
        "ranges from ", seen_.examples, " examples; errors measured on ", noise_->examples(),
        ctx_.calibration->held_back() ? " others" : " (the same: there are no more)"));
    return absl::OkStatus();
  }

  absl::Status Calibrate() {
    CollectRequest request;
    request.model = &ctx_.model;
    for (const IntegerUnit& unit : units_) {
      request.values.insert(unit.inputs.begin(), unit.inputs.end());
      request.values.insert(unit.results.begin(), unit.results.end());
      if (unit.kind == UnitKind::kConv) request.channel_axes[unit.inputs[0]] = 1;
      if (unit.kind == UnitKind::kGemm || unit.kind == UnitKind::kMatMul) {
        request.channel_axes[unit.inputs[0]] = -1;
      }
    }
    request.cancelled = ctx_.cancelled;
    request.progress = [this](int64_t examples) {
      const double share =
          static_cast<double>(examples) / static_cast<double>(ctx_.calibration->examples());
      ctx_.progress(0.2 * std::min(1.0, share),
                    absl::StrCat("calibrating (", examples, " of ", ctx_.calibration->examples(),
                                 " examples)"));
    };
    ASSIGN_OR_RETURN(const CalibrationData::Next fit,
                     ctx_.calibration->Read(CalibrationData::Part::kFit));
    ASSIGN_OR_RETURN(seen_, Collect(request, fit));
    Derive();
    return absl::OkStatus();
  }

  // What the outputs must keep, and how many layers may stay float for it.
  absl::Status SetBounds() {
    min_sqnr_db_ = GetDouble(ctx_.step, "min_sqnr_db");
    std::set<int> layers;
    for (size_t u = 0; u < units_.size(); ++u) {
      const bool can = planner_->WhyNotStatic(u).empty() || units_[u].not_dynamic.empty();
      if (units_[u].Linear() && can && !StaysFloat(units_[u])) layers.insert(units_[u].weight);
    }
    if (IsGiven(ctx_.step, "max_float_layers")) {
      most_float_ = GetInt(ctx_.step, "max_float_layers");
    } else if (IsGiven(ctx_.step, "max_float_share")) {
      most_float_ = static_cast<int64_t>(GetDouble(ctx_.step, "max_float_share") *
                                         static_cast<double>(layers.size()));
    }
    if (!IsGiven(ctx_.step, "max_accuracy_drop")) return absl::OkStatus();
    if (!ctx_.accuracy) {
      return absl::InvalidArgumentError(
          "max_accuracy_drop needs labelled calibration examples: give some with --data "
          "calibration=FILE, or min_sqnr_db instead");
    }
    ASSIGN_OR_RETURN(before_, ctx_.accuracy(original_));
    // An example more or less is no drop where the bound is a whole number of them.
    constexpr double kRounding = 1e-9;
    min_accuracy_ = before_.value - GetDouble(ctx_.step, "max_accuracy_drop") - kRounding;
    return absl::OkStatus();
  }

  // Weights that 8 bits alone would harm too much stay float throughout.
  absl::Status ProtectWeights() {
    if (!automatic_) return absl::OkStatus();
    const auto find = [this](double min_sqnr_db) -> absl::Status {
      ASSIGN_OR_RETURN(unsafe_weights_, FindUnsafeWeights(ctx_, *noise_, min_sqnr_db, most_float_));
      return absl::OkStatus();
    };
    if (!min_accuracy_) return find(min_sqnr_db_ + kWeightMarginDb);
    // How much noise the accuracy bears is not known: less and less, until it bears it.
    for (const double db : kWeightDbForAccuracy) {
      if (db > 0) RETURN_IF_ERROR(find(db));
      IntegerPlan none;
      none.forms.assign(units_.size(), UnitForm::kFloat);
      ASSIGN_OR_RETURN(const Model model, Build(none, nullptr));
      ASSIGN_OR_RETURN(const Accuracy accuracy, ctx_.accuracy(model));
      if (accuracy.value >= *min_accuracy_) return absl::OkStatus();
    }
    return absl::OkStatus();
  }

  absl::Status Choose() {
    SearchRequest request;
    request.model = &ctx_.model;
    request.units = &units_;
    request.cost = &*cost_;
    request.planner = &*planner_;
    request.noise = &*noise_;
    request.allow_static = mode_ != "dynamic" && opset_reason_.empty();
    request.allow_dynamic = mode_ != "static" && opset_reason_.empty() && options_.range.bits == 8;
    request.prefer_speed = automatic_;
    request.keep_in_bounds = automatic_;
    request.min_sqnr_db = min_sqnr_db_;
    if (min_accuracy_) {
      request.min_accuracy = *min_accuracy_;
      request.accuracy = [this](const Model& candidate) -> absl::StatusOr<double> {
        ASSIGN_OR_RETURN(const Accuracy accuracy, ctx_.accuracy(candidate));
        return accuracy.value;
      };
    }
    if (most_float_ != INT64_MAX) {
      request.most_float =
          std::max<int64_t>(0, most_float_ - static_cast<int64_t>(unsafe_weights_.size()));
    }
    request.parallel = &ctx_.parallel;
    request.cancelled = ctx_.cancelled;
    request.progress = [this](double fraction, const std::string& message) {
      ctx_.progress(0.3 + 0.6 * fraction, message);
    };
    for (const IntegerUnit& unit : units_) request.fixed_float.push_back(StaysFloat(unit));
    request.build = [this](const IntegerPlan& plan) { return Build(plan, nullptr); };
    ASSIGN_OR_RETURN(chosen_, SearchIntegers(request));
    for (const std::string& note : chosen_.notes) Note(note);
    return absl::OkStatus();
  }

  bool StaysFloat(const IntegerUnit& unit) const {
    if (unit.weight < 0) return Matches(unit, keep_float_);
    for (const int index : {unit.weight, unit.recurrent_weight}) {
      if (index < 0) continue;
      const Weight& weight = weights_[static_cast<size_t>(index)];
      if (!ReasonToSkip(weight, ctx_.step).empty() || unsafe_weights_.count(weight.name) != 0) {
        return true;
      }
    }
    return Matches(unit, keep_float_);
  }
  bool Matches(const IntegerUnit& unit, const std::vector<std::string>& globs) const {
    if (globs.empty()) return false;
    for (const int index : {unit.weight, unit.recurrent_weight}) {
      if (index >= 0 && Selected(weights_[static_cast<size_t>(index)], globs, {})) return true;
    }
    if (unit.weight >= 0) return false;
    return std::any_of(globs.begin(), globs.end(),
                       [&](const std::string& glob) { return GlobMatch(glob, unit.name); });
  }

  // A whole candidate: integers as planned, all other weights in 8 bits.
  absl::StatusOr<Model> Build(const IntegerPlan& plan, StepOutcome* outcome) {
    Model model = CloneModel(ctx_.model);
    RETURN_IF_ERROR(Rewrite(model, plan, outcome));
    return model;
  }

  absl::Status Rewrite(Model& model, const IntegerPlan& plan, StepOutcome* outcome) {
    ASSIGN_OR_RETURN(std::vector<EmittedWeight> emitted,
                     EmitIntegers(model, units_, plan, ctx_.parallel));
    RemoveUnusedConstants(model);
    if (outcome != nullptr) record_.emitted = std::move(emitted);
    return StoreWeightsIn8Bits(ctx_, model, unsafe_weights_, outcome);
  }

  absl::Status Apply() {
    UndoIdleSmoothing();
    IntegerPlan plan = planner_->Plan(chosen_.forms);
    double sqnr_db = chosen_.sqnr_db;
    bool any = std::any_of(chosen_.forms.begin(), chosen_.forms.end(),
                           [](UnitForm form) { return form != UnitForm::kFloat; });
    if (any && GetBool(ctx_.step, "bias_correction")) {
      ASSIGN_OR_RETURN(plan.corrections,
                       BiasCorrections(units_, weights_, plan, seen_, ctx_.parallel));
      ASSIGN_OR_RETURN(const Model corrected, Build(plan, nullptr));
      ASSIGN_OR_RETURN(const std::vector<double> ratios,
                       noise_->Ratios(corrected, noise_->batches()));
      ASSIGN_OR_RETURN(const bool accurate, AccurateAs(corrected, chosen_.accuracy));
      if (WorstDb(ratios) > sqnr_db && accurate) {
        sqnr_db = WorstDb(ratios);
        Note("biases corrected for the mean error of rounded weights");
      } else {
        plan.corrections.clear();
      }
    }
    if (any && automatic_ && ctx_.runtime_ratio) {
      ASSIGN_OR_RETURN(const bool faster, FasterInRuntime(plan));
      if (!faster) {
        std::fill(chosen_.forms.begin(), chosen_.forms.end(), UnitForm::kFloat);
        for (std::string& reason : chosen_.reasons) {
          if (reason.empty()) reason = "integers were slower in ONNX Runtime (measured)";
        }
        UndoIdleSmoothing();
        plan = planner_->Plan(chosen_.forms);
        any = false;
      }
    }
    const std::string between = FloatBetween(ctx_.model, units_, plan.forms);
    if (!between.empty()) Note(absl::StrCat("float beside integer layers: ", between));
    RETURN_IF_ERROR(Rewrite(ctx_.model, plan, &ctx_.outcome));
    RETURN_IF_ERROR(NoteAccuracy());
    if (any) {
      Note(
          absl::StrFormat("outputs at %.1f dB SQNR on held-back examples; about %.2f times as "
                          "fast as float in ONNX Runtime (an estimate)",
                          sqnr_db, chosen_.speedup));
      Note(
          "Lathe's executor computes integer layers in float: its times say nothing of ONNX "
          "Runtime's, which --ort-library measures");
    }
    Report();
    return absl::OkStatus();
  }

  // Whether a candidate is within the tolerance, or as accurate as what would be returned else.
  absl::StatusOr<bool> AccurateAs(const Model& candidate, std::optional<double> other) const {
    if (!min_accuracy_ || !other) return true;
    ASSIGN_OR_RETURN(const Accuracy accuracy, ctx_.accuracy(candidate));
    return accuracy.value >= std::min(*min_accuracy_, *other);
  }

  absl::Status NoteAccuracy() {
    if (!min_accuracy_) return absl::OkStatus();
    ASSIGN_OR_RETURN(const Accuracy after, ctx_.accuracy(ctx_.model));
    Note(
        absl::StrFormat("%s %.2f %% before and %.2f %% after on %d labelled calibration examples "
                        "that are held back (max_accuracy_drop: %g)%s",
                        before_.figure, 100 * before_.value, 100 * after.value, after.examples,
                        GetDouble(ctx_.step, "max_accuracy_drop"),
                        after.value >= *min_accuracy_ ? "" : ": more than may be lost"));
    return absl::OkStatus();
  }

  // Asks the runtime that the worker was given; true where it cannot tell.
  absl::StatusOr<bool> FasterInRuntime(const IntegerPlan& plan) {
    ASSIGN_OR_RETURN(const Model candidate, Build(plan, nullptr));
    ASSIGN_OR_RETURN(const std::optional<double> ratio, ctx_.runtime_ratio(candidate));
    if (!ratio) return true;
    const bool faster = *ratio <= 1;
    Note(
        absl::StrFormat("the model with integer layers takes %.2f of the original's time in ONNX "
                        "Runtime on this worker (measured)%s",
                        *ratio, faster ? "" : ": all layers stay float"));
    return faster;
  }

  // Data-free: every matrix product, and LSTMs that gain, nothing measured.
  absl::Status DynamicUnchecked() {
    Note("no calibration data were given (--data FILE): the error was not measured");
    IntegerPlan plan;
    plan.weights = options_.weights;
    chosen_.reasons.assign(units_.size(), "");
    chosen_.alone_db.assign(units_.size(), std::nullopt);
    for (size_t u = 0; u < units_.size(); ++u) {
      const IntegerUnit& unit = units_[u];
      std::string& reason = chosen_.reasons[u];
      if (!unit.not_dynamic.empty()) {
        reason = unit.not_dynamic;
      } else if (StaysFloat(unit)) {
        reason = "left float as asked";
      } else if (!opset_reason_.empty()) {
        reason = opset_reason_;
      } else if (unit.kind == UnitKind::kRecurrent && !Gains(unit)) {
        reason = "float is as fast here";
      }
      plan.forms.push_back(reason.empty() ? UnitForm::kDynamic : UnitForm::kFloat);
    }
    chosen_.forms = plan.forms;
    RETURN_IF_ERROR(Rewrite(ctx_.model, plan, &ctx_.outcome));
    Report();
    return absl::OkStatus();
  }

  bool Gains(const IntegerUnit& lstm) const {
    return LstmGains(LstmMacsAStep(weights_[static_cast<size_t>(lstm.weight)],
                                   weights_[static_cast<size_t>(lstm.recurrent_weight)]));
  }

  absl::Status WeightsAlone(const std::string& why) {
    RETURN_IF_ERROR(StoreWeightsIn8Bits(ctx_, ctx_.model, {}, &ctx_.outcome));
    for (LayerOutcome& layer : ctx_.outcome.layers) {
      if (layer.skipped_reason.empty()) {
        absl::StrAppend(&layer.scheme, ", arithmetic in float: ", why);
      }
    }
    MarkRescaled();
    return absl::OkStatus();
  }

  void Report() {
    record_.stored = std::move(ctx_.outcome.layers);
    ctx_.outcome.layers = IntegerOutcomes(record_, units_, chosen_, options_);
    MarkRescaled();
  }

  StepContext& ctx_;
  const std::string mode_;
  const std::string target_;
  IntegerOptions options_;
  bool automatic_ = true;
  std::vector<std::string> keep_float_;
  std::string opset_reason_;
  Model original_;
  IntegerRecord record_;
  std::map<std::string, const char*> start_data_;  // of original_'s weights
  std::set<std::string> rescaled_;                 // layers whose weights are others since
  std::optional<Model> plain_;                     // before smoothing, where that was kept
  Collected plain_seen_;
  std::vector<Weight> weights_;
  std::vector<IntegerUnit> units_;
  Collected seen_;
  std::optional<OutputNoise> noise_;
  std::optional<IntegerCost> cost_;
  std::optional<IntegerPlanner> planner_;
  double min_sqnr_db_ = 0;
  std::optional<double> min_accuracy_;  // instead of min_sqnr_db_
  Accuracy before_;
  int64_t most_float_ = INT64_MAX;        // layers, for their error
  std::set<std::string> unsafe_weights_;  // by name
  SearchResult chosen_;
};

}  // namespace

absl::Status ApplyQuantizeActivations(StepContext& ctx) { return ActivationQuantizer(ctx).Go(); }

}  // namespace lathe::engine
