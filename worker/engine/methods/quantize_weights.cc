// Weight quantization: W' = Q_k(W), stored as k-bit integers with scales; arithmetic stays float.
//
//   Q_k(w) = clamp(round(w / s) + z, lo, hi), w' = (q - z) s; kernels/quantize.h has the ranges.
//
// The scale is that of the largest magnitude, or the shrunk one of least squared error, of the
// weights (clip: mse) or of the layer's output (clip: output). Integers are the nearest ones, or
// those of an algorithm that looks at the layer's inputs: gptq.h, awq.h, adaround.h; hqq.h needs
// none. Calibration examples run through the model as it has become so far, layer after layer.
//
// What shares a scale: the tensor; an output channel; or `group_size` consecutive inputs of a
// channel (for a convolution: of its flattened [I/g, k...] axes). The forms in the graph are those
// of passes/emit_quantized.h and passes/emit_matmul_nbits.h. Integers of 5 to 8 bits are stored in
// 8, of 2 to 4 bits in 4, where the model's opset has a 4-bit type (21); it is lifted there where
// it can be.
//
// Deviation from the usual: the smallest layers, together at most `keep_small` of the weights, stay
// float. They cost no bytes, and break the most (early and depthwise convolutions).
#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/recipe/catalogue.h"
#include "common/status_macros.h"
#include "worker/engine/graph/clone.h"
#include "worker/engine/methods/bit_allocation.h"
#include "worker/engine/methods/input_scales.h"
#include "worker/engine/methods/layer_calibration.h"
#include "worker/engine/methods/layer_outcome.h"
#include "worker/engine/methods/layer_rounding.h"
#include "worker/engine/methods/method.h"
#include "worker/engine/methods/weight_storage.h"
#include "worker/engine/ops/shape_inference.h"
#include "worker/engine/passes/emit_matmul_nbits.h"
#include "worker/engine/passes/emit_quantized.h"
#include "worker/engine/passes/upgrade_opset.h"

namespace lathe::engine {
namespace {

constexpr int64_t kOpsetWithInt4 = 21;
constexpr int64_t kIrWithInt4 = 10;
constexpr int kBitsToChooseFrom[] = {2, 3, 4, 5, 6, 8};

class Quantizer {
 public:
  explicit Quantizer(StepContext& ctx)
      : ctx_(ctx), settings_(ctx.step), rounder_(&settings_, &ctx.parallel) {
    settings_.decode_small_tables = ctx.decode_small_tables;
  }

  absl::Status Go() {
    if (settings_.bits <= 4 || settings_.average_bits > 0) LiftForInt4();
    weights_ = FindWeights(ctx_.model);
    NoteUnmatchedTargets(ctx_, weights_);
    bits_.assign(weights_.size(), settings_.bits);
    FindReasons();
    shapes_ = InferShapes(ctx_.model, {});
    RETURN_IF_ERROR(StartCalibration());
    if (settings_.average_bits > 0) RETURN_IF_ERROR(ChooseBits());
    NameScope names(ctx_.model);
    for (size_t i = 0; i < weights_.size(); ++i) {
      const Weight& weight = weights_[i];
      RETURN_IF_ERROR(StartLayer(ctx_, i, weights_.size(), weight.name));
      LayerOutcome outcome = NewOutcome(weight);
      outcome.skipped_reason = reasons_[i];
      if (outcome.skipped_reason.empty()) RETURN_IF_ERROR(Quantize(i, names, &outcome));
      if (!outcome.skipped_reason.empty()) outcome.bytes_after = outcome.bytes_before;
      ctx_.outcome.layers.push_back(std::move(outcome));
    }
    if (calibration_ != nullptr) {
      ctx_.outcome.notes.push_back(absl::StrCat(ctx_.calibration->examples(),
                                                " calibration examples in ",
                                                passes_ + calibration_->passes(), " passes"));
    }
    return absl::OkStatus();
  }

 private:
  std::string Reason(const Weight& weight) const {
    std::string reason = ReasonToSkip(weight, ctx_.step);
    return reason.empty() && ctx_.veto ? ctx_.veto(weight) : reason;
  }

  // Only when there is something to quantize; a model that cannot be lifted gets 8-bit containers.
  void LiftForInt4() {
    bool any = false;
    for (const Weight& weight : FindWeights(ctx_.model))
      any |= ReasonToSkip(weight, ctx_.step).empty();
    const int64_t opset = ctx_.model.OpsetVersion("");
    if (!any) return;
    if (opset < kOpsetWithInt4) {
      const absl::Status lifted = UpgradeOpset(ctx_.model, kOpsetWithInt4, &ctx_.outcome.notes);
      if (!lifted.ok()) {
        ctx_.outcome.notes.push_back(absl::StrCat(
            "stored in 8 bits: ONNX has a 4-bit type from opset 21 on, and this model of opset ",
            opset, " cannot be lifted: ", lifted.message()));
        return;
      }
      ctx_.outcome.notes.push_back(absl::StrCat("opset lifted from ", opset, " to ", kOpsetWithInt4,
                                                ": the 4-bit type needs it"));
    }
    ctx_.model.ir_version = std::max(ctx_.model.ir_version, kIrWithInt4);
  }

  std::set<size_t> SmallOnes(const std::vector<Weight>& weights) const {
    std::vector<size_t> candidates;
    double total = 0;
    for (size_t i = 0; i < weights.size(); ++i) {
      if (!Reason(weights[i]).empty()) continue;
      candidates.push_back(i);
      total += static_cast<double>(weights[i].size());
    }
    std::stable_sort(candidates.begin(), candidates.end(),
                     [&](size_t a, size_t b) { return weights[a].size() < weights[b].size(); });
    const double budget = GetDouble(ctx_.step, "keep_small") * total;
    std::set<size_t> small;
    double spent = 0;
    for (const size_t i : candidates) {
      spent += static_cast<double>(weights[i].size());
      if (spent > budget) break;
      small.insert(i);
    }
    return small;
  }

  void FindReasons() {
    const std::set<size_t> small = SmallOnes(weights_);
    for (size_t i = 0; i < weights_.size(); ++i) {
      std::string reason = Reason(weights_[i]);
      if (reason.empty() && small.count(i) != 0) {
        reason = absl::StrCat("among the smallest layers, which together hold at most ",
                              Percent(GetDouble(ctx_.step, "keep_small")),
                              " of the weights (keep_small)");
      }
      if (reason.empty() && weights_[i].size() == 0) reason = "it has no elements";
      reasons_.push_back(std::move(reason));
    }
  }

  // Weights, activations and zero points of the algorithm come from a copy of the model, whose
  // weights take the values that they are rounded to as the layers are done.
  absl::Status StartCalibration() {
    if (ctx_.calibration == nullptr || CalibrationUse(ctx_.step) == DataUse::kNone) {
      return absl::OkStatus();
    }
    working_ = CloneModel(ctx_.model);
    working_weights_ = FindWeights(working_);
    NewCalibration();
    return absl::OkStatus();
  }

  void NewCalibration() {
    std::vector<bool> wanted;
    for (const std::string& reason : reasons_) wanted.push_back(reason.empty());
    if (calibration_ != nullptr) passes_ += calibration_->passes();
    calibration_ = std::make_unique<LayerCalibration>(
        &working_, &working_weights_, wanted, ctx_.calibration, ctx_.cancelled, &ctx_.parallel);
  }

  // A model that the engine cannot run is quantized without its inputs, and said so.
  absl::StatusOr<LayerInputs> InputsOf(size_t index) {
    if (calibration_ == nullptr) {
      LayerInputs none;
      none.why_not = unrunnable_.empty() ? "" : "the model cannot be run";
      return none;
    }
    absl::StatusOr<LayerInputs> found = calibration_->Of(index);
    if (!absl::IsUnimplemented(found.status())) return found;
    unrunnable_ = std::string(found.status().message());
    ctx_.outcome.notes.push_back(
        absl::StrCat("layers are rounded without regard to their inputs: the model cannot be run: ",
                     unrunnable_));
    calibration_.reset();
    return InputsOf(index);
  }

  absl::Status ChooseBits() {
    std::vector<size_t> layers;
    std::vector<std::vector<BitChoice>> choices;
    double weights = 0;
    for (size_t i = 0; i < weights_.size(); ++i) {
      if (!reasons_[i].empty()) continue;
      RETURN_IF_ERROR(StartLayer(ctx_, 0, weights_.size(), weights_[i].name));
      RETURN_IF_ERROR(CheckValues(weights_[i]));
      ASSIGN_OR_RETURN(const LayerInputs inputs, InputsOf(i));
      std::vector<BitChoice>& of_layer = choices.emplace_back();
      layers.push_back(i);
      weights += static_cast<double>(weights_[i].size());
      for (const int bits : kBitsToChooseFrom) {
        const WeightStorage storage = StorageOf(weights_[i], bits);
        of_layer.push_back({bits, storage.bytes(weights_[i], settings_.symmetric),
                            rounder_.RelativeError(weights_[i], storage, inputs)});
      }
    }
    const double budget = settings_.average_bits * weights / 8;
    const std::vector<size_t> chosen = AllocateBits(choices, static_cast<int64_t>(budget));
    double bytes = 0;
    for (size_t l = 0; l < layers.size(); ++l) {
      bits_[layers[l]] = choices[l][chosen[l]].bits;
      bytes += static_cast<double>(choices[l][chosen[l]].bytes);
    }
    if (weights > 0) {
      ctx_.outcome.notes.push_back(
          absl::StrCat(absl::StrFormat("%.2f", bytes * 8 / weights),
                       " bits a weight on average, scales included, of ", settings_.average_bits,
                       " allowed", bytes > budget ? ": no form of these layers takes less" : ""));
    }
    if (calibration_ != nullptr) NewCalibration();
    return absl::OkStatus();
  }

  WeightStorage StorageOf(const Weight& weight, int bits) const {
    return PlanStorage(ctx_.model, weight, settings_, bits,
                       settings_.matmul_nbits && AllowsMatMulNBits(ctx_.model, weight, shapes_));
  }

  // A float64 may be finite and still none that float32 holds.
  absl::Status CheckValues(const Weight& weight) {
    return weight.dtype == DType::kDouble ? ReadWeight(weight).status()
                                          : CheckFinite(weight, ctx_.parallel);
  }

  // With neither inputs nor an algorithm a weight is rounded a few rows at a time.
  absl::StatusOr<RoundedLayer> Round(size_t index, const WeightStorage& storage) {
    const Weight& weight = weights_[index];
    if (calibration_ != nullptr || storage.form == WeightForm::kMatMulNBits ||
        settings_.algorithm != RoundingAlgorithm::kNearest || settings_.clip == Clip::kOutput) {
      ASSIGN_OR_RETURN(const LayerInputs inputs, InputsOf(index));
      RoundedLayer rounded = rounder_.Round(weight, storage, inputs);
      if (calibration_ != nullptr) {
        RETURN_IF_ERROR(WriteWeight(working_weights_[index], std::move(rounded.decoded)));
      }
      return rounded;
    }
    RoundedLayer out;
    const RoundingRule rule{storage.bits, settings_.symmetric, settings_.clip != Clip::kNone};
    const int input_axis = weight.uses[0].source_reduction_axis;
    const Tensor& source = SourceTensor(weight);
    // Layers of several inputs may get a scale for each of these too.
    if (storage.layout.granularity == Granularity::kChannel && input_axis >= 0) {
      out.input_scales =
          FindInputScales(source, input_axis, storage.layout, rule, {}, ctx_.parallel);
    }
    out.stored =
        QuantizeTensor(source, storage.layout, rule,
                       InputDivisors(weight.dims, storage.layout, input_axis, out.input_scales),
                       storage.nibbles, storage.half_scales(), ctx_.parallel);
    source.data.DropPages();
    return out;
  }

  absl::Status Quantize(size_t index, NameScope& names, LayerOutcome* outcome) {
    const Weight& weight = weights_[index];
    RETURN_IF_ERROR(CheckValues(weight));
    const WeightStorage storage = StorageOf(weight, bits_[index]);
    ASSIGN_OR_RETURN(RoundedLayer rounded, Round(index, storage));
    const int64_t estimate =
        storage.bytes(weight, settings_.symmetric) +
        static_cast<int64_t>(rounded.stored.half_scales == storage.half_scales()
                                 ? 0
                                 : rounded.stored.scales.size() * 2) +
        static_cast<int64_t>(rounded.input_scales.size()) * 4;
    if (estimate >= outcome->bytes_before) {
      outcome->skipped_reason =
          absl::StrCat("it would not get smaller: ", estimate, " bytes with its scales, ",
                       outcome->bytes_before, " now");
      if (calibration_ != nullptr) RETURN_IF_ERROR(Restore(index));
      return absl::OkStatus();
    }
    outcome->bits = storage.nibbles ? 4 : 8;
    if (outcome->bits != storage.bits) outcome->requested_bits = storage.bits;
    SetError(*outcome, rounded.stored.squared_error, rounded.stored.squared_norm);
    const bool and_input = !rounded.input_scales.empty();
    const std::string how = rounded.how;
    const char* form = Emit(weight, storage, std::move(rounded), names, outcome);
    const std::string per =
        storage.layout.granularity == Granularity::kGroup
            ? (storage.refined ? absl::StrCat("channel in blocks of ", storage.block)
                               : absl::StrCat("group of ", storage.block))
        : storage.layout.granularity == Granularity::kChannel ? "channel"
                                                              : "tensor";
    outcome->scheme = absl::StrCat(
        storage.bits, storage.bits == *outcome->bits ? "" : absl::StrCat("-in-", *outcome->bits),
        "-bit per ", per, and_input ? " and input" : "", settings_.symmetric ? "" : ", asymmetric",
        " (", form, ")", how.empty() ? "" : absl::StrCat("; ", how));
    return absl::OkStatus();
  }

  // The layer stays as it was: what follows must see that.
  absl::Status Restore(size_t index) {
    ASSIGN_OR_RETURN(std::vector<float> values, ReadWeight(weights_[index]));
    return WriteWeight(working_weights_[index], std::move(values));
  }

  // Returns the operators of the form.
  const char* Emit(const Weight& weight, const WeightStorage& storage, RoundedLayer rounded,
                   NameScope& names, LayerOutcome* outcome) {
    const QuantizedLayout& layout = storage.layout;
    QuantizedTensor& q = rounded.stored;
    if (storage.form == WeightForm::kMatMulNBits) {
      BlockConstants blocks;
      blocks.integers = std::move(q.integers);
      blocks.scales = std::move(q.scales);
      blocks.zero_points = std::move(q.zero_points);
      blocks.outer = layout.outer;
      blocks.blocks = layout.groups;
      blocks.block = layout.group_size;
      blocks.inner = layout.inner;
      blocks.k = layout.length;
      blocks.input_scales = std::move(rounded.input_scales);
      outcome->bytes_after = EmitMatMulNBits(ctx_.model, weight, blocks, shapes_, names);
      return "MatMulNBits";
    }
    QuantizedConstants constants;
    constants.dtype = storage.nibbles ? (settings_.symmetric ? DType::kInt4 : DType::kUint4)
                                      : (settings_.symmetric ? DType::kInt8 : DType::kUint8);
    constants.integers = std::move(q.integers);
    constants.stored_dims = layout.stored_dims;
    constants.scales = std::move(q.scales);
    constants.scale_dims = layout.scale_dims;
    constants.half_scales = q.half_scales;
    constants.zero_points = std::move(q.zero_points);
    constants.input_scales = std::move(rounded.input_scales);
    constants.input_axis = weight.uses[0].source_reduction_axis;
    constants.reshaped = layout.reshaped;
    constants.padded = layout.padded;
    constants.outer = layout.outer;
    constants.length = layout.length;
    constants.inner = layout.inner;
    switch (storage.form) {
      case WeightForm::kBlockLookup:
        outcome->bytes_after =
            EmitBlockLookup(ctx_.model, weight, std::move(constants), settings_.group_size, names);
        return "GatherBlockQuantized";
      case WeightForm::kLookup:
        outcome->bytes_after = EmitLookup(ctx_.model, weight, std::move(constants), names);
        return "Gather, Cast, Mul";
      default:
        outcome->bytes_after = EmitFolded(ctx_.model, weight, std::move(constants), names);
        return "Cast, Mul";
    }
  }

  StepContext& ctx_;
  QuantizeSettings settings_;
  LayerRounder rounder_;
  std::vector<Weight> weights_;
  std::vector<std::string> reasons_;  // why a weight is left alone; "" where it is not
  std::vector<int> bits_;
  Inference shapes_;
  // With calibration examples.
  Model working_;
  std::vector<Weight> working_weights_;
  std::unique_ptr<LayerCalibration> calibration_;
  std::string unrunnable_;
  int64_t passes_ = 0;
};

}  // namespace

absl::Status ApplyQuantizeWeights(StepContext& ctx) { return Quantizer(ctx).Go(); }

}  // namespace lathe::engine
