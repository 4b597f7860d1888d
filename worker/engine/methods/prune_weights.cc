// Magnitude pruning: weights of small magnitude become zero (Han et al., "Learning both Weights and
// Connections for Efficient Neural Networks", 1506.02626, section 3).
//
//   threshold e:  w' = 0 where abs(w) < e, with e rounded to the weight's own type.
//   sparsity s:   of n weights, exactly round(s n) are zero (halves round to even), the smallest in
//                 magnitude; of equal magnitudes the one of lower index goes first.
//                 scope layer:  n counts one layer.
//                 scope global: n counts all targeted layers; ties go by the layers' order, then
//                 index.
//
// Weights that are zero already count: a layer that has more zeros than asked for keeps them all. A
// constant is pruned once, whatever reads it, and keeps its type; the values that stay are not
// touched.
//
// With `schedule: cubic` the step only says what is to be zero; methods/gradual_pruning.h does it
// while the next step trains.
//
// With `storage: sparse` a pruned initializer becomes an ONNX sparse initializer where that is
// smaller. Runtimes make it dense when they load the model: it saves file bytes, not time.
#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/recipe/catalogue.h"
#include "common/status_macros.h"
#include "worker/engine/graph/edit.h"
#include "worker/engine/graph/layers.h"
#include "worker/engine/graph/scratch.h"
#include "worker/engine/methods/layer_outcome.h"
#include "worker/engine/methods/magnitude_selection.h"
#include "worker/engine/methods/method.h"
#include "worker/engine/methods/sparse_storage.h"

namespace lathe::engine {
namespace {

int64_t ZerosFor(double sparsity, int64_t elements) {
  const double zeros = std::nearbyint(sparsity * static_cast<double>(elements));
  return std::clamp(static_cast<int64_t>(zeros), int64_t{0}, elements);
}

class Pruner {
 public:
  explicit Pruner(StepContext& ctx)
      : ctx_(ctx), weights_(FindWeights(ctx.model)), sparse_(Is("storage", "sparse")) {}

  absl::Status Run() {
    NoteUnmatchedTargets(ctx_, weights_);
    for (const Weight& weight : weights_) {
      LayerOutcome outcome = NewOutcome(weight);
      outcome.skipped_reason = ReasonToSkip(weight, ctx_.step);
      if (outcome.skipped_reason.empty() && MutableSource(weight) == nullptr) {
        outcome.skipped_reason = "it has no dense constant";
      }
      if (outcome.skipped_reason.empty()) chosen_.push_back(ctx_.outcome.layers.size());
      ctx_.outcome.layers.push_back(std::move(outcome));
    }
    if (Is("schedule", "cubic")) return LeaveToTraining();
    const bool global = IsGiven(ctx_.step, "sparsity") && Is("scope", "global");
    RETURN_IF_ERROR(global ? RunGlobal() : RunLayers());
    if (sparse_layers_ > 0) {
      ctx_.outcome.notes.push_back(absl::StrCat(
          sparse_layers_, sparse_layers_ == 1 ? " weight is" : " weights are",
          " stored as sparse initializers; runtimes make them dense when they load the model"));
    }
    return absl::OkStatus();
  }

 private:
  bool Is(const char* param, const char* value) const {
    return GetString(ctx_.step, param) == value;
  }

  // With `schedule: cubic`: the step that trains next does it.
  absl::Status LeaveToTraining() {
    if (ctx_.training == nullptr || !IsGiven(ctx_.step, "sparsity")) {
      return absl::InvalidArgumentError(
          "schedule: cubic prunes to a sparsity while the fine_tune or distill after it trains: "
          "give sparsity, and a step that trains");
    }
    GradualPlan plan;
    plan.sparsity = GetDouble(ctx_.step, "sparsity");
    plan.global = Is("scope", "global");
    for (const size_t i : chosen_) {
      plan.constants.push_back(weights_[i].source_name);
      ctx_.outcome.layers[i].scheme = absl::StrCat(plan.global ? "" : Percent(plan.sparsity) + " ",
                                                   "zeros by the training that follows");
    }
    ctx_.training->gradual = std::move(plan);
    return absl::OkStatus();
  }

  absl::Status RunLayers() {
    const bool by_sparsity = IsGiven(ctx_.step, "sparsity");
    const double amount = GetDouble(ctx_.step, by_sparsity ? "sparsity" : "threshold");
    for (size_t i = 0; i < chosen_.size(); ++i) {
      const Weight& weight = weights_[chosen_[i]];
      RETURN_IF_ERROR(StartLayer(ctx_, i, chosen_.size(), weight.name));
      RETURN_IF_ERROR(CheckFinite(weight, ctx_.parallel));
      const Tensor* tensor = MutableSource(weight);
      if (by_sparsity) {
        const Tensor* one[] = {tensor};
        ZeroSmallest(one, ZerosFor(amount, weight.size()), ctx_.parallel,
                     [&](size_t, ZeroedTensor zeroed) { Store(chosen_[i], std::move(zeroed)); });
      } else {
        Store(chosen_[i], ZeroBelow(*tensor, amount, ctx_.parallel));
      }
    }
    return absl::OkStatus();
  }

  absl::Status RunGlobal() {
    std::vector<const Tensor*> tensors;
    int64_t elements = 0;
    for (size_t i = 0; i < chosen_.size(); ++i) {
      const Weight& weight = weights_[chosen_[i]];
      RETURN_IF_ERROR(StartLayer(ctx_, i, chosen_.size(), weight.name));
      RETURN_IF_ERROR(CheckFinite(weight, ctx_.parallel));
      tensors.push_back(MutableSource(weight));
      elements += weight.size();
    }
    if (tensors.empty()) return absl::OkStatus();
    const int64_t zeros = ZerosFor(GetDouble(ctx_.step, "sparsity"), elements);
    int64_t counted = 0;
    ZeroSmallest(tensors, zeros, ctx_.parallel, [&](size_t i, ZeroedTensor zeroed) {
      counted += zeroed.zeros;
      Store(chosen_[i], std::move(zeroed));
    });
    ctx_.outcome.notes.push_back(absl::StrCat(
        counted, " of ", elements, " weights in ", chosen_.size(), " layers are zero (",
        Percent(static_cast<double>(counted) / static_cast<double>(elements)), ")"));
    return absl::OkStatus();
  }

  void Store(size_t layer, ZeroedTensor zeroed) {
    const Weight& weight = weights_[layer];
    LayerOutcome& outcome = ctx_.outcome.layers[layer];
    MutableSource(weight)->data = Keep(std::move(zeroed.data));
    const double zeros = static_cast<double>(zeroed.zeros) / static_cast<double>(weight.size());
    outcome.sparsity = zeros;
    outcome.scheme = absl::StrCat(Percent(zeros), " zeros");
    SetError(outcome, zeroed.squared_change, zeroed.squared_norm);
    if (sparse_) outcome.scheme += StoreSparse(weight, outcome);
  }

  Bytes Keep(Bytes bytes) {
    return ctx_.model.scratch == nullptr ? bytes : ctx_.model.scratch->Keep(std::move(bytes));
  }

  // Returns what the scheme says of it.
  std::string StoreSparse(const Weight& weight, LayerOutcome& outcome) {
    if (weight.source.kind != WeightSource::Kind::kInitializer) {
      return ", dense (a Constant node)";
    }
    Graph& graph = *weight.source.graph;
    // A default that callers may override stays what its input declares. Before IR 4 the input is a
    // formality.
    if (ctx_.model.ir_version >= 4 && graph.IsInput(weight.source.value)) {
      return ", dense (callers may override it)";
    }
    std::optional<std::string> serialized = SerializeSparseIfSmaller(*MutableSource(weight));
    if (!serialized) return ", dense (smaller)";
    if (ctx_.model.ir_version < kSparseIrVersion) {
      ctx_.outcome.notes.push_back(absl::StrCat("IR version lifted from ", ctx_.model.ir_version,
                                                " to ", kSparseIrVersion,
                                                ", which sparse initializers need"));
      RaiseIrVersion(ctx_.model, kSparseIrVersion);
    }
    outcome.bytes_after = static_cast<int64_t>(serialized->size());
    const std::string value = weight.source.value;
    RemoveSource(weight);
    graph.sparse_initializers.insert_or_assign(value, Keep(Bytes::Own(*std::move(serialized))));
    ++sparse_layers_;
    return ", sparse";
  }

  StepContext& ctx_;
  const std::vector<Weight> weights_;
  const bool sparse_;
  std::vector<size_t> chosen_;  // indices of weights_ and of the outcome's layers
  int64_t sparse_layers_ = 0;
};

}  // namespace

absl::Status ApplyPruneWeights(StepContext& ctx) { return Pruner(ctx).Run(); }

}  // namespace lathe::engine
