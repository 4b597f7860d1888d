// Weight quantization: W' = Q_k(W), stored as k-bit integers with scales; arithmetic stays float.
//
//   Q_k(w) = clamp(round(w / s) + z, lo, hi), w' = (q - z) s; kernels/quantize.h has the ranges.
//   The scale is that of the largest magnitude, or the shrunk one of least squared error (clip:
//   mse).
//
// What shares a scale: the tensor; an output channel; or `group_size` consecutive inputs of a
// channel (for a convolution: of its flattened [I/g, k...] axes). The forms in the graph are those
// of passes/emit_quantized.h. Integers of 5 to 8 bits are stored in 8, of 2 to 4 bits in 4, where
// the model's opset has a 4-bit type (21); it is lifted there where it can be.
//
// Deviation from the usual: the smallest layers, together at most `keep_small` of the weights, stay
// float. They cost no bytes, and break the most (early and depthwise convolutions).
#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "absl/strings/str_cat.h"
#include "common/recipe/catalogue.h"
#include "common/status_macros.h"
#include "worker/engine/methods/input_scales.h"
#include "worker/engine/methods/layer_outcome.h"
#include "worker/engine/methods/method.h"
#include "worker/engine/methods/quantized_tensor.h"
#include "worker/engine/passes/emit_quantized.h"
#include "worker/engine/passes/upgrade_opset.h"

namespace lathe::engine {
namespace {

constexpr int64_t kOpsetWithInt4 = 21;
constexpr int64_t kIrWithInt4 = 10;

// Blocks within a channel.
constexpr int64_t kRefineBlock = 64;
constexpr int64_t kWideInputs = 128;

bool IsWideMatrix(const Weight& weight) {
  const WeightUse& use = weight.uses[0];
  switch (use.role) {
    case WeightRole::kGemmB:
    case WeightRole::kMatMulLeft:
    case WeightRole::kMatMulRight:
    case WeightRole::kRnnInput:
    case WeightRole::kRnnRecurrent:
      return use.source_reduction_axis >= 0 &&
             weight.dims[static_cast<size_t>(use.source_reduction_axis)] >= kWideInputs;
    default:
      return false;
  }
}

class Quantizer {
 public:
  explicit Quantizer(StepContext& ctx)
      : ctx_(ctx),
        bits_(static_cast<int>(GetInt(ctx.step, "bits"))),
        symmetric_(GetBool(ctx.step, "symmetric")) {
    const std::string wish = GetString(ctx.step, "granularity");
    wish_ = wish == "tensor"    ? Granularity::kTensor
            : wish == "channel" ? Granularity::kChannel
                                : Granularity::kGroup;
    group_size_ = GetInt(ctx.step, "group_size");
    clip_ = GetString(ctx.step, "clip") == "mse";
  }

  absl::Status Go() {
    if (bits_ <= 4) LiftForInt4();
    std::vector<Weight> weights = FindWeights(ctx_.model);
    NoteUnmatchedTargets(ctx_, weights);
    NameScope names(ctx_.model);
    const std::set<size_t> small = SmallOnes(weights);
    for (size_t i = 0; i < weights.size(); ++i) {
      const Weight& weight = weights[i];
      RETURN_IF_ERROR(StartLayer(ctx_, i, weights.size(), weight.name));
      LayerOutcome outcome = NewOutcome(weight);
      outcome.skipped_reason = Reason(weight);
      if (outcome.skipped_reason.empty() && small.count(i) != 0) {
        outcome.skipped_reason = absl::StrCat(
            "among the smallest layers, which together hold at most ",
            Percent(GetDouble(ctx_.step, "keep_small")), " of the weights (keep_small)");
      }
      if (outcome.skipped_reason.empty() && weight.size() == 0)
        outcome.skipped_reason = "it has no elements";
      if (outcome.skipped_reason.empty()) RETURN_IF_ERROR(Quantize(weight, names, &outcome));
      if (!outcome.skipped_reason.empty()) outcome.bytes_after = outcome.bytes_before;
      ctx_.outcome.layers.push_back(std::move(outcome));
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

  absl::Status Quantize(const Weight& weight, NameScope& names, LayerOutcome* outcome) {
    // A float64 may be finite and still none that float32 holds.
    RETURN_IF_ERROR(weight.dtype == DType::kDouble ? ReadWeight(weight).status()
                                                   : CheckFinite(weight, ctx_.parallel));
    const bool lookup = IsPureLookup(weight);
    bool nibbles = bits_ <= 4 && OpsetAt(ctx_.model, *weight.source.graph) >= kOpsetWithInt4;
    Granularity wish = wish_;
    // Blocks of a looked-up table exist for 4-bit symmetric 2-D tables only; others get a scale a
    // row.
    const bool block_lookup = lookup && wish == Granularity::kGroup && nibbles && symmetric_ &&
                              weight.dims.size() == 2 && weight.dims[1] % group_size_ == 0 &&
                              weight.dims[1] > group_size_;
    if (lookup && wish == Granularity::kGroup && !block_lookup) wish = Granularity::kChannel;
    if (lookup && !block_lookup) nibbles = false;  // Gather does not take 4-bit types
    // A channel of many inputs gets a (half-precision) scale for each block of them: 0.25 bits a
    // weight, and 1 to 2 dB.
    const bool refine =
        wish == Granularity::kChannel && bits_ == 8 && !lookup && IsWideMatrix(weight);
    if (refine) wish = Granularity::kGroup;
    const int64_t block = refine ? kRefineBlock : group_size_;
    const QuantizedLayout layout = PlanLayout(weight, wish, block);
    const RoundingRule rule{bits_, symmetric_, clip_};
    // A scale for every few weights would weigh as much as they do: half precision is plenty for
    // it.
    const bool half_scales = layout.granularity == Granularity::kGroup;
    // Layers of several inputs may get a scale for each of these too.
    const int input_axis = weight.uses[0].source_reduction_axis;
    std::vector<float> input_scales;
    const Tensor& source = SourceTensor(weight);
    if (layout.granularity == Granularity::kChannel && input_axis >= 0) {
      input_scales = FindInputScales(source, input_axis, layout, rule, ctx_.parallel);
    }
    QuantizedTensor q = QuantizeTensor(source, layout, rule,
                                       InputDivisors(weight.dims, layout, input_axis, input_scales),
                                       nibbles, half_scales, ctx_.parallel);
    source.data.DropPages();
    QuantizedConstants constants;
    constants.dtype = nibbles ? (symmetric_ ? DType::kInt4 : DType::kUint4)
                              : (symmetric_ ? DType::kInt8 : DType::kUint8);
    constants.integers = std::move(q.integers);
    constants.stored_dims = layout.stored_dims;
    constants.scales = std::move(q.scales);
    constants.scale_dims = layout.scale_dims;
    constants.half_scales = q.half_scales;
    constants.zero_points = std::move(q.zero_points);
    constants.input_scales = input_scales;
    constants.input_axis = input_axis;
    constants.reshaped = layout.reshaped;
    constants.padded = layout.padded;
    constants.outer = layout.outer;
    constants.length = layout.length;
    constants.inner = layout.inner;
    const int64_t estimate =
        static_cast<int64_t>(constants.integers.size() + constants.zero_points.size() +
                             constants.scales.size() * (constants.half_scales ? 2 : 4) +
                             constants.input_scales.size() * 4);
    if (estimate >= outcome->bytes_before) {
      outcome->skipped_reason =
          absl::StrCat("it would not get smaller: ", estimate, " bytes with its scales, ",
                       outcome->bytes_before, " now");
      return absl::OkStatus();
    }
    const char* form = nullptr;
    if (block_lookup) {
      form = "GatherBlockQuantized";
      outcome->bytes_after =
          EmitBlockLookup(ctx_.model, weight, std::move(constants), group_size_, names);
    } else if (lookup) {
      form = "Gather, Cast, Mul";
      outcome->bytes_after = EmitLookup(ctx_.model, weight, std::move(constants), names);
    } else {
      form = "Cast, Mul";
      outcome->bytes_after = EmitFolded(ctx_.model, weight, std::move(constants), names);
    }
    outcome->bits = nibbles ? 4 : 8;
    if (outcome->bits != bits_) outcome->requested_bits = bits_;
    SetError(*outcome, q.squared_error, q.squared_norm);
    const std::string per = layout.granularity == Granularity::kGroup
                                ? (refine ? absl::StrCat("channel in blocks of ", block)
                                          : absl::StrCat("group of ", block))
                            : layout.granularity == Granularity::kChannel ? "channel"
                                                                          : "tensor";
    outcome->scheme =
        absl::StrCat(bits_, bits_ == *outcome->bits ? "" : absl::StrCat("-in-", *outcome->bits),
                     "-bit per ", per, input_scales.empty() ? "" : " and input",
                     symmetric_ ? "" : ", asymmetric", " (", form, ")");
    return absl::OkStatus();
  }

  StepContext& ctx_;
  const int bits_;
  const bool symmetric_;
  bool clip_ = true;
  Granularity wish_ = Granularity::kChannel;
  int64_t group_size_ = 32;
};

}  // namespace

absl::Status ApplyQuantizeWeights(StepContext& ctx) { return Quantizer(ctx).Go(); }

}  // namespace lathe::engine
